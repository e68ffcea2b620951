// Weights and activations as plain rows of bf16, for products by a library.
#include "kernels/cuda/cuda_stream.h"
#include "kernels/cuda/intrinsics.cuh"
#include "kernels/cuda/library_products.h"

namespace foregate::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kThreadCols = 16;  // of a row, in a thread: 32 bytes of it

// A value as two bf16 parts, two columns in a word.
struct PairParts {
  std::uint32_t high, low;
};
__device__ __forceinline__ PairParts parts_of(float first, float second) {
  const std::uint32_t high = pack_bf16(first, second);
  return {high, pack_bf16(first - __uint_as_float(high << 16), second - __uint_as_float(high & 0xffff0000u))};
}

struct PlainArgs {
  const std::uint16_t* weights;  // from the first row on, interleaved
  std::int64_t rows;
  std::int64_t cols;
  std::int64_t padded;
  std::uint16_t* high;
  std::uint16_t* low;
  std::uint64_t f16;
};

// A thread has kThreadCols columns of one row; the sixteen rows that lie side by side are neighbouring threads.
__global__ void __launch_bounds__(kThreads) plain_weights_kernel(PlainArgs args) {
  const std::int64_t item = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const std::int64_t groups = args.padded / kThreadCols;
  const std::int64_t row = item / kRowInterleave / groups * kRowInterleave + item % kRowInterleave;
  const std::int64_t first = item / kRowInterleave % groups * kThreadCols;
  if (row >= args.rows) return;
  const std::uint16_t* from = args.weights + row / kRowInterleave * kRowInterleave * args.cols + row % kRowInterleave;
  std::uint32_t high[kThreadCols / 2], low[kThreadCols / 2];
  for (int i = 0; i < kThreadCols / 2; ++i) {
    std::uint32_t bits[2];
    for (int c = 0; c < 2; ++c) {
      const std::int64_t k = first + 2 * i + c;
      bits[c] = k < args.cols ? from[k * kRowInterleave] : 0u;
    }
    high[i] = bits[0] | bits[1] << 16;
    low[i] = 0;
    if (args.f16 == 0) continue;
    const PairParts parts =
        parts_of(f16_to_f32(static_cast<std::uint16_t>(bits[0])), f16_to_f32(static_cast<std::uint16_t>(bits[1])));
    high[i] = parts.high;
    low[i] = parts.low;
  }
  auto* out = reinterpret_cast<uint4*>(args.high + row * args.padded + first);
  out[0] = make_uint4(high[0], high[1], high[2], high[3]);
  out[1] = make_uint4(high[4], high[5], high[6], high[7]);
  if (args.f16 == 0) return;
  out = reinterpret_cast<uint4*>(args.low + row * args.padded + first);
  out[0] = make_uint4(low[0], low[1], low[2], low[3]);
  out[1] = make_uint4(low[4], low[5], low[6], low[7]);
}

struct SplitArgs {
  View2<const float> x;
  std::int64_t padded;
  std::uint32_t* high;  // two columns each
  std::uint32_t* low;
};

__global__ void __launch_bounds__(kThreads) split_rows_kernel(SplitArgs args) {
  const std::int64_t pair = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const std::int64_t row = pair / (args.padded / 2);
  if (row >= args.x.rows) return;
  const std::int64_t k = pair % (args.padded / 2) * 2;
  const float* x = args.x.data + row * args.x.stride + k;
  const PairParts parts = parts_of(k < args.x.cols ? x[0] : 0.0f, k + 1 < args.x.cols ? x[1] : 0.0f);
  args.high[pair] = parts.high;
  args.low[pair] = parts.low;
}

struct BiasArgs {
  const float* bias;
  View2<float> y;
  std::uint64_t adds;
};

__global__ void __launch_bounds__(kThreads) bias_kernel(BiasArgs args) {
  const std::int64_t item = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const std::int64_t row = item / args.y.cols;
  if (row >= args.y.rows) return;
  const std::int64_t n = item % args.y.cols;
  float* y = args.y.data + row * args.y.stride + n;
  *y = args.adds != 0 ? *y + args.bias[n] : args.bias[n];
}

dim3 blocks_for(std::int64_t items) {
  return dim3(static_cast<unsigned>((items + kThreads - 1) / kThreads));
}

}  // namespace

void plain_weights(CudaStream& stream, const PackedWeight& weight, std::int64_t first, std::int64_t rows,
                   std::int64_t padded, std::byte* high, std::byte* low) {
  PlainArgs args;
  args.weights = reinterpret_cast<const std::uint16_t*>(weight.data) + first * weight.cols;
  args.rows = rows;
  args.cols = weight.cols;
  args.padded = padded;
  args.high = reinterpret_cast<std::uint16_t*>(high);
  args.low = reinterpret_cast<std::uint16_t*>(low);
  args.f16 = weight.format == WeightFormat::kF16 ? 1 : 0;
  const std::int64_t whole = (rows + kRowInterleave - 1) / kRowInterleave * kRowInterleave;
  stream.launch(plain_weights_kernel, blocks_for(whole * (padded / kThreadCols)), kThreads, 0, args);
}

void split_rows(CudaStream& stream, View2<const float> x, std::int64_t padded, std::byte* high, std::byte* low) {
  const SplitArgs args{x, padded, reinterpret_cast<std::uint32_t*>(high), reinterpret_cast<std::uint32_t*>(low)};
  stream.launch(split_rows_kernel, blocks_for(x.rows * (padded / 2)), kThreads, 0, args);
}

void start_with_bias(CudaStream& stream, const float* bias, View2<float> y, bool accumulate) {
  stream.launch(bias_kernel, blocks_for(y.rows * y.cols), kThreads, 0, BiasArgs{bias, y, accumulate ? 1u : 0u});
}

}  // namespace foregate::cuda
