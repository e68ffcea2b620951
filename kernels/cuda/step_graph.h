// The kernels of a step, put off and then given to the GPU as one graph. What is compared is every launch with every
// byte of its arguments: a graph runs only when the same kernels are to run with the same shapes on the same memory, so
// nothing of an earlier step is in it. Owned by a CudaStream; its thread.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace foregate {

class StepGraphs {
 public:
  StepGraphs() = default;
  ~StepGraphs();
  StepGraphs(const StepGraphs&) = delete;
  StepGraphs& operator=(const StepGraphs&) = delete;

  template <class... Params, class... Args>
  void add(void (*kernel)(Params...), const cudaLaunchConfig_t& config, Args&&... args) {
    Call call;
    call.kernel = reinterpret_cast<std::uint64_t>(kernel);
    call.grid[0] = config.gridDim.x;
    call.grid[1] = config.gridDim.y;
    call.grid[2] = config.gridDim.z;
    call.block = config.blockDim.x;
    call.shared = config.dynamicSmemBytes;
    call.params = now_.params.size();
    call.launch = &launch_as<Params...>;
    (put(static_cast<Params>(std::forward<Args>(args))), ...);
    now_.calls.push_back(call);
  }
  // A call of a library, which is captured as a launch is.
  template <class Params>
  void add_call(cudaError_t (*function)(cudaStream_t, Params), const Params& params) {
    Call call;
    call.kernel = reinterpret_cast<std::uint64_t>(function);
    call.params = now_.params.size();
    call.launch = &call_as<Params>;
    put(params);
    now_.calls.push_back(call);
  }
  bool empty() const { return now_.calls.empty(); }
  // Gives what was added to the stream: launch by launch the first time, as a graph from then on.
  cudaError_t run(cudaStream_t stream);

  std::uint64_t graph_launches() const { return graph_launches_; }

 private:
  static constexpr std::size_t kMostKnown = 64;

  // One kernel; its arguments one after another in Step::params.
  struct Call {
    std::uint64_t kernel = 0;
    std::uint64_t grid[3] = {};
    std::uint64_t block = 0;
    std::uint64_t shared = 0;
    std::uint64_t params = 0;
    cudaError_t (*launch)(const Call& call, const std::byte* params, cudaStream_t stream) = nullptr;
  };
  struct Step {
    std::vector<Call> calls;
    std::vector<std::byte> params;
    std::uint64_t hash() const;
    bool operator==(const Step& other) const;
  };
  struct Known {
    std::uint64_t hash = 0;
    Step step;
    cudaGraphExec_t graph = nullptr;  // null: came once
    std::uint64_t used = 0;
  };

  // Bytes between members say nothing, so they are zeros.
  template <class T>
  void put(T value) {
    static_assert(std::is_trivially_copyable_v<T>);
    __builtin_clear_padding(&value);
    const std::size_t at = now_.params.size();
    now_.params.resize(at + (sizeof(T) + 7) / 8 * 8);
    std::memcpy(now_.params.data() + at, &value, sizeof(T));
  }
  template <class T>
  static T take(const std::byte*& from) {
    T value;
    std::memcpy(&value, from, sizeof(T));
    from += (sizeof(T) + 7) / 8 * 8;
    return value;
  }
  template <class... Params>
  static cudaError_t launch_as(const Call& call, const std::byte* params, cudaStream_t stream) {
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(static_cast<unsigned>(call.grid[0]), static_cast<unsigned>(call.grid[1]),
                          static_cast<unsigned>(call.grid[2]));
    config.blockDim = dim3(static_cast<unsigned>(call.block));
    config.dynamicSmemBytes = call.shared;
    config.stream = stream;
    const std::byte* from = params + call.params;
    const std::tuple<Params...> args{take<Params>(from)...};  // braces: from left to right
    return std::apply(
        [&](const Params&... each) {
          return cudaLaunchKernelEx(&config, reinterpret_cast<void (*)(Params...)>(call.kernel), each...);
        },
        args);
  }

  template <class Params>
  static cudaError_t call_as(const Call& call, const std::byte* params, cudaStream_t stream) {
    const std::byte* from = params + call.params;
    return reinterpret_cast<cudaError_t (*)(cudaStream_t, Params)>(call.kernel)(stream, take<Params>(from));
  }

  static cudaError_t launch_each(const Step& step, cudaStream_t stream);
  static cudaError_t capture(const Step& step, cudaStream_t stream, cudaGraphExec_t* graph);
  Known& find_or_add(std::uint64_t hash, cudaStream_t stream);

  Step now_;
  std::vector<Known> known_;
  std::uint64_t runs_ = 0;
  std::uint64_t graph_launches_ = 0;
};

}  // namespace foregate
