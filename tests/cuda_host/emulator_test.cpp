// The emulator itself: what kernels may rely on, and that it sees the faults it is there to see.
#include "tests/cuda_host/emulator.h"

#include <gtest/gtest.h>

#include <set>

#include "kernels/cuda/cuda_stream.h"
#include "kernels/cuda/intrinsics.cuh"

namespace foregate::testing {
namespace {

using cuda::shared_block;

class Emulator : public ::testing::Test {
 protected:
  void SetUp() override {
    emu::clear_faults();
    emu::forget_errors();
    emu::forget_barriers();
    emu::set_seed(7);
  }
  void TearDown() override {
    emu::clear_faults();
    emu::forget_errors();
  }
};

constexpr int kThreads = 128;

struct Row {
  float values[kThreads];
};

// out[block] = the values of the block's threads turned round.
void reverse_kernel(const float* in, float* out) {
  Row& shared = shared_block<Row>();
  const unsigned at = blockIdx.x * kThreads + threadIdx.x;
  shared.values[threadIdx.x] = in[at];
  __syncthreads();
  out[at] = shared.values[kThreads - 1 - threadIdx.x];
}

std::vector<float> numbers(std::size_t count) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = static_cast<float>(i);
  return values;
}

std::vector<float> reversed(unsigned blocks) {
  const std::vector<float> in = numbers(blocks * kThreads);
  std::vector<float> out(in.size(), -1);
  CudaStream stream;
  stream.launch(reverse_kernel, dim3(blocks), kThreads, sizeof(Row), in.data(), out.data());
  stream.synchronize();
  return out;
}

bool all_reversed(const std::vector<float>& out) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    const std::size_t want = i / kThreads * kThreads + (kThreads - 1 - i % kThreads);
    if (out[i] != static_cast<float>(want)) return false;
  }
  return true;
}

TEST_F(Emulator, RunsBlocksAndBarriers) {
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    emu::set_seed(seed);
    EXPECT_TRUE(all_reversed(reversed(5))) << seed;
  }
}

TEST_F(Emulator, SeesAMissingBarrier) {
  reversed(2);
  const std::vector<emu::Site> sites = emu::barriers_seen();
  ASSERT_EQ(sites.size(), 1u);
  emu::skip_barrier(sites[0]);
  EXPECT_FALSE(all_reversed(reversed(2)));
}

void stuck_kernel(int) {
  if (threadIdx.x < 40) __syncthreads();  // the rest of the second warp waits elsewhere
  if (threadIdx.x >= 40) __syncwarp();
}

TEST_F(Emulator, SeesThreadsThatNeverMeet) {
  CudaStream stream;
  stream.launch(stuck_kernel, dim3(1), 64, 0, 0);
  stream.synchronize();
  ASSERT_NE(stream.failure(), nullptr);
  EXPECT_NE(emu::last_report().find("wait for others"), std::string::npos) << emu::last_report();
}

void overflow_kernel(int) {
  shared_block<Row>().values[kThreads + 31 + threadIdx.x] = 1;
}

TEST_F(Emulator, SeesWritesBeyondSharedMemory) {
  CudaStream stream;
  stream.launch(overflow_kernel, dim3(1), 32, sizeof(Row), 0);
  stream.synchronize();
  EXPECT_NE(emu::last_report().find("beyond the shared memory"), std::string::npos);
}

void warp_kernel(std::uint32_t* out) {
  const int lane = static_cast<int>(threadIdx.x);
  int value = lane * 3;
  out[lane] = static_cast<std::uint32_t>(__shfl_xor_sync(0xffffffffu, value, 5));
  out[32 + lane] = static_cast<std::uint32_t>(__shfl_down_sync(0xffffffffu, value, 4));
  out[64 + lane] = __ballot_sync(0xffffffffu, lane % 3 == 0);
  if (lane < 8) out[96 + lane] = static_cast<std::uint32_t>(__shfl_sync(0xffu, value, 7 - lane));
}

TEST_F(Emulator, WarpsExchange) {
  std::vector<std::uint32_t> out(128);
  CudaStream stream;
  stream.launch(warp_kernel, dim3(1), 32, 0, out.data());
  stream.synchronize();
  for (unsigned lane = 0; lane < 32; ++lane) {
    EXPECT_EQ(out[lane], (lane ^ 5) * 3);
    EXPECT_EQ(out[32 + lane], (lane + 4 < 32 ? lane + 4 : lane) * 3);
    EXPECT_EQ(out[64 + lane], 0x49249249u);
    if (lane < 8) {
      EXPECT_EQ(out[96 + lane], (7 - lane) * 3);
    }
  }
}

struct Halves {
  alignas(16) std::uint16_t tile[16][16];
};

// d[16][8] = a[16][16] * b[16][8] for small whole numbers, a through ldmatrix.
void mma_kernel(const float* a, const float* b, float* d) {
  Halves& shared = shared_block<Halves>();
  const int lane = static_cast<int>(threadIdx.x);
  for (int i = lane; i < 256; i += 32) shared.tile[i / 16][i % 16] = cuda::f32_to_bf16(a[i]);
  __syncwarp();
  std::uint32_t a_words[4];
  cuda::ldmatrix_x4<false>(a_words, &shared.tile[lane % 16][lane / 16 * 8]);
  const int group = lane / 4, quad = lane % 4;
  const auto b_word = [&](int k) { return cuda::pack_bf16(b[k * 8 + group], b[(k + 1) * 8 + group]); };
  const std::uint32_t b_words[2] = {b_word(2 * quad), b_word(2 * quad + 8)};
  float sums[4] = {};
  cuda::mma_bf16(sums, a_words, b_words);
  for (int c = 0; c < 4; ++c) d[(group + c / 2 * 8) * 8 + quad * 2 + c % 2] = sums[c];
}

TEST_F(Emulator, MultipliesMatrices) {
  std::vector<float> a(256), b(128), d(128);
  for (int i = 0; i < 256; ++i) a[i] = static_cast<float>(i * 7 % 11 - 5);
  for (int i = 0; i < 128; ++i) b[i] = static_cast<float>(i * 5 % 13 - 6);
  CudaStream stream;
  stream.launch(mma_kernel, dim3(1), 32, sizeof(Halves), a.data(), b.data(), d.data());
  stream.synchronize();
  for (int r = 0; r < 16; ++r) {
    for (int c = 0; c < 8; ++c) {
      float want = 0;
      for (int k = 0; k < 16; ++k) want += a[r * 16 + k] * b[k * 8 + c];
      EXPECT_EQ(d[r * 8 + c], want) << r << " " << c;
    }
  }
}

struct Copied {
  alignas(16) float values[128];
};

void copy_kernel(const float* from, float* to) {
  Copied& shared = shared_block<Copied>();
  cuda::copy_async_16(&shared.values[4 * threadIdx.x], from + 4 * threadIdx.x);
  cuda::copy_async_commit();
  cuda::copy_async_wait<0>();
  __syncthreads();
  for (int i = 0; i < 4; ++i) to[32 * i + threadIdx.x] = shared.values[32 * i + threadIdx.x];
}

TEST_F(Emulator, SeesAMissingWaitForACopy) {
  const std::vector<float> from = numbers(128);
  std::vector<float> to(128);
  const auto run = [&] {
    CudaStream stream;
    stream.launch(copy_kernel, dim3(1), 32, sizeof(Copied), from.data(), to.data());
    stream.synchronize();
    return to == from;
  };
  EXPECT_TRUE(run());
  emu::skip_copy_waits();
  EXPECT_FALSE(run());
}

void fill_kernel(float* at, float value) {
  at[threadIdx.x] = value;
}

TEST_F(Emulator, DeviceMemoryIsOutOfReach) {
  float* data = nullptr;
  ASSERT_EQ(cudaMalloc(reinterpret_cast<void**>(&data), 32 * sizeof(float)), cudaSuccess);
  {
    CudaStream stream;
    stream.launch(fill_kernel, dim3(1), 32, 0, data, 3.0f);
    std::vector<float> back(32);
    stream.download(back.data(), data, 32 * sizeof(float));
    stream.synchronize();
    EXPECT_EQ(back, std::vector<float>(32, 3.0f));
    EXPECT_DEATH(static_cast<volatile float*>(data)[0] = 1, "");
    EXPECT_DEATH(
        {
          stream.launch(fill_kernel, dim3(1), 65, 0, data, 3.0f);  // beyond the 256 bytes of the allocation
          stream.synchronize();
        },
        "");
  }
  cudaFree(data);
  EXPECT_EQ(emu::counters().live_allocations, 0u);
}

TEST_F(Emulator, WorkOnAStreamWaits) {
  bool late = false;
  for (std::uint64_t seed = 0; seed < 16; ++seed) {
    emu::set_seed(seed);
    std::vector<float> out(32);
    CudaStream stream;
    stream.launch(fill_kernel, dim3(1), 32, 0, out.data(), 1.0f);
    late |= out[0] == 0.0f;
    stream.synchronize();
    EXPECT_EQ(out[0], 1.0f);
  }
  EXPECT_TRUE(late);
}

TEST_F(Emulator, StagedListsAreCopiedWhenTheyChange) {
  CudaStream stream;
  std::vector<std::int32_t> list = {4, 5, 6};
  const auto* first = stream.stage(ControlList::kRows, list.data(), 3);
  EXPECT_EQ(stream.stage(ControlList::kRows, list.data(), 3), first);
  EXPECT_EQ(stream.staged_bytes(), 12u);
  list[1] = 9;
  const auto* second = stream.stage(ControlList::kRows, list.data(), 3);
  EXPECT_EQ(stream.staged_bytes(), 24u);
  list[1] = -1;  // the host may change it at once
  std::vector<std::int32_t> back(3);
  stream.download(back.data(), second, 12);
  stream.synchronize();
  EXPECT_EQ(back, (std::vector<std::int32_t>{4, 9, 6}));
}

TEST_F(Emulator, FirstFailureStays) {
  {
    CudaStream stream;
    emu::fail_calls("launch", cudaErrorLaunchFailure, 0);
    std::vector<float> out(32);
    stream.launch(fill_kernel, dim3(1), 32, 0, out.data(), 1.0f);
    emu::clear_faults();
    stream.launch(fill_kernel, dim3(1), 32, 0, out.data(), 1.0f);
    stream.synchronize();
    ASSERT_NE(stream.failure(), nullptr);
    EXPECT_STREQ(stream.failure(), "CUDA: launch: unspecified launch failure");
    EXPECT_EQ(out[0], 0.0f);
  }
  emu::forget_errors();
  CudaStream next;
  EXPECT_EQ(next.failure(), nullptr);
}

}  // namespace
}  // namespace foregate::testing
