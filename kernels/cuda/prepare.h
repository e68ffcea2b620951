// Activations as the B side of matrix instructions, in tiles of eight rows. Made once for a product and read by all of
// its blocks, so that a weight meets each row in the same form whatever the number of rows.
//
// Scalar formats and fp8: steps of 16 columns, 512 bytes each: lane (row * 4 + quad) has {high, low} parts in bf16 of
// columns 2 * quad, 2 * quad + 1, 2 * quad + 8, 2 * quad + 9; high + low is the f32 value to 2^-18 of it.
// Quantized formats: groups of 32 columns, 320 bytes each: int8 codes of columns 4 * quad .. + 3 and 16 + the same in 8
// bytes a lane, then the scale of each row (f32[8]) and the sum of its codes (i32[8]), by the rule of quant.h.
#pragma once

#include "kernels/api/quant.h"
#include "kernels/api/view.h"
#include "kernels/cuda/cuda_stream.h"

namespace foregate::cuda {

inline constexpr int kTileRows = 8;
inline constexpr int kStepCols = 16;
inline constexpr int kStepBytes = 512;
inline constexpr int kGroupTileBytes = 320;

inline std::int64_t tile_steps(WeightFormat format, std::int64_t cols) {
  return is_quantized(format) ? cols / kQuantGroup : (cols + kStepCols - 1) / kStepCols;
}
inline std::int64_t tile_bytes(WeightFormat format, std::int64_t cols) {
  return tile_steps(format, cols) * (is_quantized(format) ? kGroupTileBytes : kStepBytes);
}

// A tile takes rows [first_row, first_row + rows) of the row list.
struct TileRows {
  std::int32_t first = 0;
  std::int32_t rows = 0;  // 1 .. kTileRows
};

// Tiles 0 .. num_tiles - 1 to `out` (tile_bytes each). `tiles` and `rows` lie in device memory; without `tiles` tile i
// has rows 8 i .. of x, without `rows` row i of the list is row i of x. `count`, on the device, says how many of the
// tiles there are; null: all.
void prepare_tiles(CudaStream& stream, WeightFormat format, View2<const float> x, const TileRows* tiles,
                   const std::int32_t* rows, std::int64_t num_tiles, std::byte* out,
                   const std::int32_t* count = nullptr);

}  // namespace foregate::cuda
