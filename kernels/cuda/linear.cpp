// y = x * W^T: by a library where that is the rule (library_products.h); else activations are prepared once, then every
// block of the product reads them.
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/library_products.h"
#include "kernels/cuda/product.h"

namespace foregate::cuda {

void linear(Stream& stream, const LinearArgs& args) {
  CudaStream& cuda = cuda_stream(stream);
  if (cuda.library() != nullptr && cuda.library()->linear(cuda, args)) return;
  const WeightFormat format = args.weight.format;
  const std::int64_t tiles = (args.x.rows + kTileRows - 1) / kTileRows;
  std::byte* prepared = cuda.reserve(static_cast<std::size_t>(tiles * tile_bytes(format, args.weight.cols)));
  if (prepared == nullptr || tiles == 0) return;
  prepare_tiles(cuda, format, args.x, nullptr, nullptr, tiles, prepared);
  TileProducts products;
  products.all = {args.weight.data, nullptr, 0, static_cast<std::int32_t>(args.x.rows), 0};
  products.most_rows = products.all.columns;
  products.prepared = prepared;
  products.tile_bytes = tile_bytes(format, args.weight.cols);
  products.rows = args.weight.rows;
  products.cols = args.weight.cols;
  ProductOutput output;
  output.y = args.y;
  output.bias = args.bias;
  output.accumulate = args.accumulate;
  product(cuda, format, products, output);
}

}  // namespace foregate::cuda
