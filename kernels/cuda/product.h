// Matrix products over prepared activations: the launches behind linear and expert_ffn. Device pointers throughout.
#pragma once

#include "kernels/api/args_moe.h"
#include "kernels/cuda/prepare.h"

namespace foregate::cuda {

// One piece: prepared tiles [tile, ..) that hold `columns` rows, against a matrix `first` (and `second`).
struct TileWork {
  const std::byte* first;
  const std::byte* second;
  std::int32_t tile;
  std::int32_t columns;
  std::int32_t out;  // place of the piece's first row in the list of output rows
};

struct TileProducts {
  const TileWork* work = nullptr;  // `pieces` of them; null: `all`, cut into pieces of tiles_per_piece(most_rows)
  TileWork all = {};
  std::int32_t pieces = 0;              // with work
  const std::int32_t* count = nullptr;  // on the device: how many of the pieces there are; null: all
  std::int32_t most_rows = 0;           // of one piece of work, or of `all`
  const std::byte* prepared = nullptr;
  std::int64_t tile_bytes = 0;
  std::int64_t rows = 0;  // of the matrices
  std::int64_t cols = 0;
};

// Few tiles in a piece, or as many as the registers of a block allow. The bits of an output are the same.
inline constexpr int kManyTiles = 4;
constexpr int tiles_per_piece(std::int64_t most_rows) {
  return most_rows <= kTileRows ? 1 : kManyTiles;
}

// What becomes of the sum of output row i of the list and weight row n.
struct ProductOutput {
  View2<float> y;
  const std::int32_t* y_rows = nullptr;  // row of y for i; null: i
  const float* bias = nullptr;           // [n]
  bool accumulate = false;
  const float* gate = nullptr;  // [i, n], rows `gate_stride` apart: the sum is multiplied by act(gate)
  std::int64_t gate_stride = 0;
  Activation activation = Activation::kSilu;
};

void product(CudaStream& stream, WeightFormat format, const TileProducts& products, const ProductOutput& output);
// output = act(first * x) * (second * x); both matrices are of `format`.
void gate_up_product(CudaStream& stream, WeightFormat format, const TileProducts& products,
                     const ProductOutput& output);

}  // namespace foregate::cuda
