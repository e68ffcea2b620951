// The kernel around tile_product.cuh: a block takes sixteen weight rows (of one matrix, or of gate and up) and up to
// kTiles tiles of activations; its warps cut the columns into kWarps parts, fixed by the number of columns alone, whose
// sums are added in ascending order. So an output has the same bits whatever else is computed with it.
#pragma once

#include "kernels/cuda/product.h"
#include "kernels/cuda/tile_product.cuh"

namespace foregate::cuda {

inline constexpr int kProductWarps = 8;
inline constexpr int kProductThreads = kProductWarps * kWarpLanes;

template <int kMatrices, int kTiles>
struct TileShared {
  float sums[kMatrices][kProductWarps][kTiles * kTileRows][kRowInterleave];
};

template <int kTiles>
__device__ __forceinline__ TileWork work_of_block(const TileProducts& args) {
  if (args.work != nullptr) return args.work[blockIdx.y];
  TileWork work = args.all;
  const int skipped = static_cast<int>(blockIdx.y) * kTiles;
  work.tile += skipped;
  work.out += skipped * kTileRows;
  work.columns = min(work.columns - skipped * kTileRows, kTiles * kTileRows);
  return work;
}

template <int kTiles, class Sums>
__device__ __forceinline__ void keep_sums(const float (&y)[kTiles][4], int count, Sums& sums) {
  const int lane = threadIdx.x % kWarpLanes;
  for (int t = 0; t < kTiles; ++t) {
    if (t >= count) break;
    for (int c = 0; c < 4; ++c) sums[t * kTileRows + lane % 4 * 2 + c % 2][lane / 4 * 2 + c / 2] = y[t][c];
  }
}

// `Epilogue::put(row of the matrix, index in the list of output rows, sums of the matrices)`.
template <WeightFormat F, int kMatrices, int kTiles, class Epilogue>
__global__ void __launch_bounds__(kProductThreads) tile_kernel(TileProducts args, Epilogue epilogue) {
  if (args.count != nullptr && static_cast<int>(blockIdx.y) >= *args.count) return;
  auto& shared = shared_block<TileShared<kMatrices, kTiles>>();
  const TileWork work = work_of_block<kTiles>(args);
  const int warp = threadIdx.x / kWarpLanes;
  const std::int64_t block = blockIdx.x;
  const std::int64_t offset = packed_bytes(F, block * kRowInterleave, args.cols);
  const std::int64_t steps = product_steps<F>(args.cols);
  const std::int64_t first = steps * warp / kProductWarps;
  const std::int64_t last = steps * (warp + 1) / kProductWarps;
  const PreparedTiles x{args.prepared + work.tile * args.tile_bytes, args.tile_bytes,
                        (work.columns + kTileRows - 1) / kTileRows};
#pragma unroll
  for (int m = 0; m < kMatrices; ++m) {
    const auto* rows = reinterpret_cast<const std::uint8_t*>(m == 0 ? work.first : work.second) + offset;
    float y[kTiles][4] = {};
    multiply<F, kTiles>(rows, args.cols, x, first, last, y);
    keep_sums(y, x.count, shared.sums[m][warp]);
  }
  __syncthreads();
  for (int i = threadIdx.x; i < work.columns * kRowInterleave; i += kProductThreads) {
    const int lane = i % kRowInterleave;
    const int column = i / kRowInterleave;
    if (block * kRowInterleave + lane >= args.rows) continue;
    float sums[kMatrices] = {};
    for (int w = 0; w < kProductWarps; ++w) {
      for (int m = 0; m < kMatrices; ++m) sums[m] += shared.sums[m][w][column][lane];
    }
    epilogue.put(block * kRowInterleave + lane, work.out + column, sums);
  }
}

template <int kMatrices, int kTiles, class Epilogue>
void launch_format(CudaStream& stream, WeightFormat format, const TileProducts& args, unsigned pieces,
                   const Epilogue& epilogue) {
  const dim3 grid(static_cast<unsigned>((args.rows + kRowInterleave - 1) / kRowInterleave), pieces);
  const auto run = [&](void (*kernel)(TileProducts, Epilogue)) {
    stream.launch(kernel, grid, kProductThreads, sizeof(TileShared<kMatrices, kTiles>), args, epilogue);
  };
  switch (format) {
    case WeightFormat::kF32: return run(tile_kernel<WeightFormat::kF32, kMatrices, kTiles, Epilogue>);
    case WeightFormat::kF16: return run(tile_kernel<WeightFormat::kF16, kMatrices, kTiles, Epilogue>);
    case WeightFormat::kBF16: return run(tile_kernel<WeightFormat::kBF16, kMatrices, kTiles, Epilogue>);
    case WeightFormat::kQ8_0: return run(tile_kernel<WeightFormat::kQ8_0, kMatrices, kTiles, Epilogue>);
    case WeightFormat::kQ4_0: return run(tile_kernel<WeightFormat::kQ4_0, kMatrices, kTiles, Epilogue>);
    case WeightFormat::kQ4_1: return run(tile_kernel<WeightFormat::kQ4_1, kMatrices, kTiles, Epilogue>);
    case WeightFormat::kQ5_0: return run(tile_kernel<WeightFormat::kQ5_0, kMatrices, kTiles, Epilogue>);
    case WeightFormat::kQ4_K: return run(tile_kernel<WeightFormat::kQ4_K, kMatrices, kTiles, Epilogue>);
    case WeightFormat::kQ5_K: return run(tile_kernel<WeightFormat::kQ5_K, kMatrices, kTiles, Epilogue>);
    case WeightFormat::kQ6_K: return run(tile_kernel<WeightFormat::kQ6_K, kMatrices, kTiles, Epilogue>);
    case WeightFormat::kMxfp4: return run(tile_kernel<WeightFormat::kMxfp4, kMatrices, kTiles, Epilogue>);
    case WeightFormat::kFp8: return run(tile_kernel<WeightFormat::kFp8, kMatrices, kTiles, Epilogue>);
  }
}

template <int kMatrices, class Epilogue>
void launch_product(CudaStream& stream, WeightFormat format, const TileProducts& args, const Epilogue& epilogue) {
  std::int64_t pieces = args.pieces;
  const int tiles = tiles_per_piece(args.most_rows);
  if (args.work == nullptr) {
    const int rows = tiles * kTileRows;
    pieces = (args.all.columns + rows - 1) / rows;
  }
  if (tiles == 1) {
    launch_format<kMatrices, 1>(stream, format, args, static_cast<unsigned>(pieces), epilogue);
  } else {
    launch_format<kMatrices, kManyTiles>(stream, format, args, static_cast<unsigned>(pieces), epilogue);
  }
}

}  // namespace foregate::cuda
