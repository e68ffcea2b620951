// A warp makes one step of one tile.
#include "kernels/cuda/intrinsics.cuh"
#include "kernels/cuda/prepare.h"

namespace foregate::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarpLanes;

struct PrepareArgs {
  View2<const float> x;
  const TileRows* tiles;
  const std::int32_t* rows;
  std::int64_t num_tiles;
  std::int64_t steps;
  std::byte* out;
  const std::int32_t* count;

  __device__ __forceinline__ std::int64_t items() const { return (count != nullptr ? *count : num_tiles) * steps; }
};

// The row of x in column `column` of a tile; null where the tile is not full.
__device__ __forceinline__ const float* tile_row(const PrepareArgs& args, std::int64_t tile, int column) {
  std::int64_t first = tile * kTileRows;
  std::int64_t count = args.x.rows - first;
  if (args.tiles != nullptr) {
    first = args.tiles[tile].first;
    count = args.tiles[tile].rows;
  }
  if (column >= count) return nullptr;
  const std::int64_t row = args.rows != nullptr ? args.rows[first + column] : first + column;
  return args.x.data + row * args.x.stride;
}

__global__ void __launch_bounds__(kThreads) prepare_halves_kernel(PrepareArgs args) {
  const std::int64_t item = static_cast<std::int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarpLanes;
  if (item >= args.items()) return;
  const std::int64_t tile = item / args.steps;
  const std::int64_t step = item % args.steps;
  const int lane = threadIdx.x % kWarpLanes;
  const float* x = tile_row(args, tile, lane / 4);
  float values[4];
  for (int i = 0; i < 4; ++i) {
    const std::int64_t k = step * kStepCols + lane % 4 * 2 + i % 2 + i / 2 * 8;
    values[i] = x != nullptr && k < args.x.cols ? x[k] : 0.0f;
  }
  const std::uint32_t high0 = pack_bf16(values[0], values[1]);
  const std::uint32_t high1 = pack_bf16(values[2], values[3]);
  const auto rest = [](float value, std::uint32_t half) { return value - __uint_as_float(half << 16); };
  const std::uint32_t low0 = pack_bf16(rest(values[0], high0), rest(values[1], high0 >> 16));
  const std::uint32_t low1 = pack_bf16(rest(values[2], high1), rest(values[3], high1 >> 16));
  reinterpret_cast<uint4*>(args.out + (tile * args.steps + step) * kStepBytes)[lane] =
      make_uint4(high0, high1, low0, low1);
}

__global__ void __launch_bounds__(kThreads) prepare_codes_kernel(PrepareArgs args) {
  const std::int64_t item = static_cast<std::int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarpLanes;
  if (item >= args.items()) return;
  const std::int64_t tile = item / args.steps;
  const std::int64_t step = item % args.steps;
  const int lane = threadIdx.x % kWarpLanes;
  const int column = lane / 4;
  const int quad = lane % 4;
  const float* x = tile_row(args, tile, column);
  float values[8];
  float largest = 0;
  int broken = 0;
  for (int i = 0; i < 8; ++i) {
    values[i] = x != nullptr ? x[step * kQuantGroup + i / 4 * 16 + quad * 4 + i % 4] : 0.0f;
    largest = fmaxf(largest, fabsf(values[i]));
    broken |= !isfinite(values[i]);
  }
  for (int lanes = 1; lanes < 4; lanes *= 2) {  // over the quad
    largest = fmaxf(largest, __shfl_xor_sync(kFullWarp, largest, lanes));
    broken |= __shfl_xor_sync(kFullWarp, broken, lanes);
  }
  const float inverse = isfinite(127.0f / largest) && broken == 0 ? 127.0f / largest : 0.0f;
  std::uint32_t words[2] = {0, 0};
  int sum = 0;
  for (int i = 0; i < 8; ++i) {
    const int code = broken != 0 ? 0 : static_cast<int>(rintf(values[i] * inverse));
    sum += code;
    words[i / 4] |= (static_cast<std::uint32_t>(code) & 0xffu) << 8 * (i % 4);
  }
  for (int lanes = 1; lanes < 4; lanes *= 2) sum += __shfl_xor_sync(kFullWarp, sum, lanes);
  std::byte* out = args.out + (tile * args.steps + step) * kGroupTileBytes;
  reinterpret_cast<uint2*>(out)[lane] = make_uint2(words[0], words[1]);
  if (quad == 0) {
    reinterpret_cast<float*>(out + 256)[column] = broken != 0 ? __uint_as_float(0x7fc00000u) : largest / 127.0f;
    reinterpret_cast<std::int32_t*>(out + 288)[column] = sum;
  }
}

}  // namespace

void prepare_tiles(CudaStream& stream, WeightFormat format, View2<const float> x, const TileRows* tiles,
                   const std::int32_t* rows, std::int64_t num_tiles, std::byte* out, const std::int32_t* count) {
  const PrepareArgs args{x, tiles, rows, num_tiles, tile_steps(format, x.cols), out, count};
  const dim3 grid(static_cast<unsigned>((num_tiles * args.steps + kWarps - 1) / kWarps));
  if (is_quantized(format)) {
    stream.launch(prepare_codes_kernel, grid, kThreads, 0, args);
  } else {
    stream.launch(prepare_halves_kernel, grid, kThreads, 0, args);
  }
}

}  // namespace foregate::cuda
