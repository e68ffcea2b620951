// Kernels put off and given to the device as a graph: the same results, whatever changes between steps; and what a
// graph of the emulated runtime keeps, so that a mistake there would show.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <numeric>

#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/cuda_stream.h"
#include "tests/cuda_host/emulator.h"

namespace foregate::testing {
namespace {

constexpr int kThreads = 64;

struct Scale {
  float by;
  double unused;  // with a gap before it
  float add;
};

void scale_kernel(const float* in, Scale scale, float* out) {
  out[threadIdx.x] = in[threadIdx.x] * scale.by + scale.add;
}
void pick_kernel(const float* in, const std::int32_t* which, float* out) {
  out[threadIdx.x] = in[which[threadIdx.x]];
}

class Graphs : public ::testing::Test {
 protected:
  void SetUp() override {
    emu::clear_faults();
    emu::forget_errors();
    emu::set_seed(3);
    std::string error;
    ASSERT_TRUE(device_.open({}, &error)) << error;
    in_ = device_.allocate(kThreads * sizeof(float));
    out_ = device_.allocate(kThreads * sizeof(float));
    other_ = device_.allocate(kThreads * sizeof(float));
    which_.resize(kThreads);
    std::iota(which_.begin(), which_.end(), 0);
  }
  float* at(const Memory& memory) { return reinterpret_cast<float*>(memory.data()); }

  // A step of two kernels and a list: out = (in * by + 1)[which].
  std::vector<float> step(float first, float by, Memory& middle) {
    std::vector<float> values(kThreads);
    std::iota(values.begin(), values.end(), first);
    stream_.collect();
    stream_.upload(in_.data(), values.data(), kThreads * sizeof(float));
    stream_.launch(scale_kernel, dim3(1), kThreads, 0, at(in_), Scale{by, 0, 1}, at(middle));
    const std::int32_t* list = stream_.stage(ControlList::kRows, which_.data(), kThreads);
    stream_.launch(pick_kernel, dim3(1), kThreads, 0, at(middle), list, at(out_));
    stream_.download(values.data(), out_.data(), kThreads * sizeof(float));
    stream_.synchronize();
    EXPECT_EQ(stream_.failure(), nullptr);
    return values;
  }
  std::vector<float> expected(float first, float by) {
    std::vector<float> values;
    for (const std::int32_t i : which_) values.push_back((first + static_cast<float>(i)) * by + 1);
    return values;
  }

  CudaDevice device_;
  CudaStream stream_;
  Memory in_, out_, other_;
  std::vector<std::int32_t> which_;
};

TEST_F(Graphs, RunWhatIsTheSameAsBefore) {
  Memory middle = device_.allocate(kThreads * sizeof(float));
  EXPECT_EQ(step(0, 2, middle), expected(0, 2));
  EXPECT_EQ(stream_.collected(), 0u);
  const auto graphs = emu::counters().graph_launches;
  for (int i = 1; i < 5; ++i) {
    std::rotate(which_.begin(), which_.begin() + i, which_.end());  // another list, in the same place
    EXPECT_EQ(step(static_cast<float>(i), 2, middle), expected(static_cast<float>(i), 2));
  }
  EXPECT_EQ(stream_.collected(), 4u);
  EXPECT_EQ(emu::counters().graph_launches, graphs + 4);
}

// Another number among the arguments, another address, another shape: nothing of the old graph runs.
TEST_F(Graphs, AnythingElseIsAnotherStep) {
  Memory middle = device_.allocate(kThreads * sizeof(float));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(step(1, 2, middle), expected(1, 2));
  EXPECT_EQ(stream_.collected(), 2u);
  EXPECT_EQ(step(1, 3, middle), expected(1, 3));
  EXPECT_EQ(step(1, 3, other_), expected(1, 3));
  EXPECT_EQ(stream_.collected(), 2u);
  middle = Memory();  // the graphs that write there are not run again
  EXPECT_EQ(step(1, 3, other_), expected(1, 3));
  EXPECT_EQ(stream_.collected(), 3u);
}

// A list that is staged again with other contents: what was put off runs before.
TEST_F(Graphs, ListsAreReadAsTheyWere) {
  for (int round = 0; round < 3; ++round) {
    std::vector<float> values(kThreads), first(kThreads), second(kThreads);
    std::iota(values.begin(), values.end(), static_cast<float>(round));
    stream_.collect();
    stream_.upload(in_.data(), values.data(), kThreads * sizeof(float));
    std::vector<std::int32_t> turned = which_;
    const auto pick = [&](const std::vector<std::int32_t>& which, const Memory& to) {
      const std::int32_t* list = stream_.stage(ControlList::kRows, which.data(), kThreads);
      stream_.launch(pick_kernel, dim3(1), kThreads, 0, at(in_), list, at(to));
    };
    pick(turned, out_);
    std::reverse(turned.begin(), turned.end());
    pick(turned, other_);
    stream_.download(first.data(), out_.data(), kThreads * sizeof(float));
    stream_.download(second.data(), other_.data(), kThreads * sizeof(float));
    stream_.synchronize();
    EXPECT_EQ(first, values);
    EXPECT_EQ(second, std::vector(values.rbegin(), values.rend()));
  }
  EXPECT_EQ(stream_.collected(), 4u);  // two parts, from the second round on
}

TEST_F(Graphs, ManyShapesTakeTurns) {
  Memory middle = device_.allocate(kThreads * sizeof(float));
  for (int i = 0; i < 300; ++i) {
    const float by = static_cast<float>(i % 100);
    ASSERT_EQ(step(1, by, middle), expected(1, by));
  }
  EXPECT_EQ(stream_.collected(), 0u);  // each was forgotten before it came again
}

TEST_F(Graphs, AFailedCaptureIsAFailureOfTheDevice) {
  Memory middle = device_.allocate(kThreads * sizeof(float));
  step(0, 2, middle);
  emu::fail_calls("capture", 1, 0);
  stream_.collect();
  stream_.launch(scale_kernel, dim3(1), kThreads, 0, at(in_), Scale{2, 0, 1}, at(middle));
  stream_.synchronize();
  EXPECT_EQ(stream_.failure(), nullptr);  // another step than before
  stream_.collect();
  stream_.launch(scale_kernel, dim3(1), kThreads, 0, at(in_), Scale{2, 0, 1}, at(middle));
  stream_.synchronize();
  EXPECT_NE(stream_.failure(), nullptr);
}

cudaGraphExec_t captured(cudaStream_t stream, const float* in, float* middle, float* out) {
  EXPECT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  cudaMemcpyAsync(middle, in, kThreads * sizeof(float), cudaMemcpyHostToDevice, stream);
  cudaLaunchConfig_t config;
  config.gridDim = dim3(1);
  config.blockDim = dim3(kThreads);
  config.stream = stream;
  cudaLaunchKernelEx(&config, scale_kernel, middle, Scale{1, 0, 0}, out);
  EXPECT_NE(cudaStreamSynchronize(stream), cudaSuccess);  // not while it is only written down
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  EXPECT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
  EXPECT_EQ(cudaGraphInstantiate(&exec, graph, 0), cudaSuccess);
  cudaGraphDestroy(graph);
  return exec;
}

// A pointer to host memory in a graph shows what lies there when it runs, one to freed device memory ends the program.
TEST_F(Graphs, TheEmulatorKeepsAddresses) {
  cudaStream_t stream = nullptr;
  cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  std::vector<float> in(kThreads, 5), out(kThreads);
  Memory middle = device_.allocate(kThreads * sizeof(float));
  const cudaGraphExec_t exec = captured(stream, in.data(), at(middle), at(out_));
  in.assign(kThreads, 7);
  EXPECT_EQ(cudaGraphLaunch(exec, stream), cudaSuccess);
  cudaMemcpyAsync(out.data(), out_.data(), kThreads * sizeof(float), cudaMemcpyDeviceToHost, stream);
  cudaStreamSynchronize(stream);
  EXPECT_EQ(out, in);
  middle = Memory();
  const pid_t child = fork();
  if (child == 0) {
    std::freopen("/dev/null", "w", stderr);
    cudaGraphLaunch(exec, stream);
    cudaStreamSynchronize(stream);
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_FALSE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  cudaGraphExecDestroy(exec);
  cudaStreamDestroy(stream);
}

}  // namespace
}  // namespace foregate::testing
