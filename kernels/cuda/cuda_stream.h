// A CUDA stream as the engine's Stream: launches, copies, and the staging of the small host arrays that ops take (row
// lists, block tables). Every call of the runtime is checked; the first failure stays (failure()), and nothing is
// launched after it. One calling thread.
#pragma once

#include <cuda_runtime.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "kernels/api/device.h"
#include "kernels/cuda/step_graph.h"

namespace foregate {

class LibraryProducts;

// The lists that the host writes and kernels read.
enum class ControlList { kTokens, kRows, kSlots, kSequences, kFfnWork, kFfnRows, kSampling, kCount };

class CudaStream final : public Stream {
 public:
  // `library`: of products of many rows; null: there is none. It must outlive this.
  explicit CudaStream(LibraryProducts* library = nullptr);
  ~CudaStream() override;
  void synchronize() override;
  void upload(void* to_device, const void* from_host, std::size_t bytes) override;
  void upload_pinned(void* to_device, const void* from_pinned, std::size_t bytes) override;
  void download(void* to_host, const void* from_device, std::size_t bytes) override;
  void copy(void* to, const void* from, std::size_t bytes) override;
  void collect() override { collecting_ = failure() == nullptr; }
  std::uint64_t collected() const override { return graphs_.graph_launches(); }
  bool plan_products(std::int64_t rows, std::int64_t cols, std::int64_t outputs) override;
  LibraryProducts* library() const { return library_; }
  const char* failure() const override { return failure_.empty() ? nullptr : failure_.c_str(); }

  // The device's copy of a host array, which may change once this returns. Each list has one place; what is there
  // already is not copied again. Valid for ops of this stream until the list is staged with other contents. Null when
  // empty or after a failure.
  template <class T>
  const T* stage(ControlList list, const T* host, std::int64_t count) {
    return static_cast<const T*>(stage_bytes(list, host, static_cast<std::size_t>(count) * sizeof(T)));
  }

  // Device memory for the op in progress, 256-byte aligned, valid until the next reserve(). Null after a failure.
  std::byte* reserve(std::size_t bytes);

  // kernel<<<grid, block, shared>>>(args...) on this stream.
  template <class... Params, class... Args>
  void launch(void (*kernel)(Params...), dim3 grid, unsigned block, std::size_t shared_bytes, Args&&... args) {
    if (failure() != nullptr || grid.x == 0 || grid.y == 0 || grid.z == 0) return;
    if (shared_bytes > kDefaultShared) {
      check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes)),
            "shared memory of a kernel");
    }
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = dim3(block);
    config.dynamicSmemBytes = shared_bytes;
    config.stream = stream_;
    ++launches_;
    if (collecting_) return graphs_.add(kernel, config, std::forward<Args>(args)...);
    check(cudaLaunchKernelEx(&config, kernel, std::forward<Args>(args)...), "launch");
  }

  // function(this stream, params) in the order of the launches: a library's call that gives the device something to do.
  template <class Params>
  void call(cudaError_t (*function)(cudaStream_t, Params), const Params& params) {
    if (failure() != nullptr) return;
    ++launches_;
    if (collecting_) return graphs_.add_call(function, params);
    check(function(stream_, params), "a call of a library");
  }

  std::uint64_t launches() const { return launches_; }
  std::uint64_t staged_bytes() const { return staged_bytes_; }  // copied, not those that were there

 private:
  friend class CudaEvent;
  static constexpr std::size_t kDefaultShared = 48 * 1024;
  struct Pinned;
  struct Staged {
    std::vector<std::byte> contents;
    void* device = nullptr;
    std::size_t capacity = 0;
    bool used = false;  // by what is put off
  };

  void flush();  // what was put off is given to the device
  void end_collecting();
  const void* stage_bytes(ControlList list, const void* host, std::size_t bytes);
  Pinned* pinned_for(std::size_t bytes);
  void copy_through_pinned(void* to_device, const void* from_host, std::size_t bytes);
  bool check(cudaError_t error, const char* what);

  LibraryProducts* library_;
  cudaStream_t stream_ = nullptr;
  std::string failure_;
  std::vector<Pinned> pinned_;
  std::array<Staged, static_cast<std::size_t>(ControlList::kCount)> staged_;
  void* workspace_ = nullptr;
  std::size_t workspace_bytes_ = 0;
  bool collecting_ = false;
  StepGraphs graphs_;
  std::uint64_t launches_ = 0;
  std::uint64_t staged_bytes_ = 0;
};

// Its failures are those of the stream that it was recorded in or that waits.
class CudaEvent final : public Event {
 public:
  CudaEvent();
  ~CudaEvent() override;
  void record(Stream& stream) override;
  void hold(Stream& stream) override;
  void wait() override;
  cudaError_t hold(cudaStream_t stream) const;  // likewise, of a stream that is not the engine's

 private:
  cudaEvent_t event_ = nullptr;
  CudaStream* recorded_ = nullptr;
};

}  // namespace foregate
