// The expert FFN: rows of all experts are prepared in tiles of eight, an expert's own; gate and up with the activation
// go to `scratch`, which is prepared in the same tiles for down. Weights are read once for all rows of a piece.
#include <algorithm>
#include <vector>

#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/product.h"

namespace foregate::cuda {
namespace {

// Formats of the three matrices, the same in all groups of a pass.
struct PassFormats {
  WeightFormat gate, up, down;
  bool operator==(const PassFormats&) const = default;
};
PassFormats formats_of(const ExpertGroup& group) {
  return {group.weights.gate.format, group.weights.up.format, group.weights.down.format};
}

// The lists of one pass, as the kernels read them.
struct Pass {
  std::vector<TileWork> gate_up, up, down;
  std::vector<TileRows> tiles;
  std::vector<std::int32_t> rows;  // of x, then of y
  std::int32_t most_rows = 0;      // of one piece
  std::int32_t assignments = 0;
};

Pass plan_pass(const ExpertFfnArgs& args, const PassFormats& formats) {
  Pass pass;
  for (std::int32_t g = 0; g < args.num_groups; ++g) {
    if (formats_of(args.groups[g]) == formats) pass.most_rows = std::max(pass.most_rows, args.groups[g].rows);
  }
  const std::int32_t piece = tiles_per_piece(pass.most_rows) * kTileRows;
  pass.most_rows = std::min(pass.most_rows, piece);
  std::vector<std::int32_t> out_rows;
  for (std::int32_t g = 0; g < args.num_groups; ++g) {
    const ExpertGroup& group = args.groups[g];
    if (formats_of(group) != formats || group.rows == 0) continue;
    for (std::int32_t row = 0; row < group.rows; row += piece) {
      const std::int32_t columns = std::min(piece, group.rows - row);
      const auto tile = static_cast<std::int32_t>(pass.tiles.size());
      const std::int32_t out = pass.assignments + row;
      pass.gate_up.push_back({group.weights.gate.data, group.weights.up.data, tile, columns, out});
      pass.up.push_back({group.weights.up.data, nullptr, tile, columns, out});
      pass.down.push_back({group.weights.down.data, nullptr, tile, columns, out});
      for (std::int32_t at = 0; at < columns; at += kTileRows) {
        pass.tiles.push_back({out + at, std::min(kTileRows, columns - at)});
      }
    }
    pass.rows.insert(pass.rows.end(), group.x_rows, group.x_rows + group.rows);
    out_rows.insert(out_rows.end(), group.out_rows, group.out_rows + group.rows);
    pass.assignments += group.rows;
  }
  pass.rows.insert(pass.rows.end(), out_rows.begin(), out_rows.end());
  return pass;
}

// gate_up, up, down, tiles: one list, so that one copy brings them.
struct StagedPass {
  const TileWork* gate_up;
  const TileWork* up;
  const TileWork* down;
  const TileRows* tiles;
  const std::int32_t* x_rows;
  const std::int32_t* y_rows;
};

StagedPass stage(CudaStream& stream, const Pass& pass) {
  std::vector<std::byte> bytes;
  const auto put = [&](const auto& list) {
    const auto* begin = reinterpret_cast<const std::byte*>(list.data());
    bytes.insert(bytes.end(), begin, begin + list.size() * sizeof(list[0]));
  };
  put(pass.gate_up);
  put(pass.up);
  put(pass.down);
  put(pass.tiles);
  const auto size = static_cast<std::int64_t>(bytes.size());
  const std::byte* work = stream.stage(ControlList::kFfnWork, bytes.data(), size);
  const std::int32_t* rows =
      stream.stage(ControlList::kFfnRows, pass.rows.data(), static_cast<std::int64_t>(pass.rows.size()));
  const auto* first = reinterpret_cast<const TileWork*>(work);
  const std::size_t pieces = pass.gate_up.size();
  return {first, first + pieces,         first + 2 * pieces, reinterpret_cast<const TileRows*>(first + 3 * pieces),
          rows,  rows + pass.assignments};
}

void run_pass(CudaStream& stream, const ExpertFfnArgs& args, const PassFormats& formats, std::int64_t inner) {
  const Pass pass = plan_pass(args, formats);
  if (pass.assignments == 0) return;
  const StagedPass staged = stage(stream, pass);
  const auto num_tiles = static_cast<std::int64_t>(pass.tiles.size());
  const std::int64_t x_bytes = tile_bytes(formats.gate, args.x.cols);
  const std::int64_t hidden_bytes = tile_bytes(formats.down, inner);
  std::byte* prepared = stream.reserve(static_cast<std::size_t>(num_tiles * (x_bytes + hidden_bytes)));
  if (prepared == nullptr) return;
  std::byte* prepared_hidden = prepared + num_tiles * x_bytes;

  prepare_tiles(stream, formats.gate, args.x, staged.tiles, staged.x_rows, num_tiles, prepared);
  TileProducts products;
  products.work = staged.gate_up;
  products.pieces = static_cast<std::int32_t>(pass.gate_up.size());
  products.most_rows = pass.most_rows;
  products.prepared = prepared;
  products.tile_bytes = x_bytes;
  products.rows = inner;
  products.cols = args.x.cols;
  ProductOutput hidden;
  hidden.y = {args.scratch, pass.assignments, inner, inner};
  hidden.activation = args.activation;
  if (formats.gate == formats.up) {
    gate_up_product(stream, formats.gate, products, hidden);
  } else {  // one after the other: the gate waits in scratch
    product(stream, formats.gate, products, hidden);
    hidden.gate = args.scratch;
    hidden.gate_stride = inner;
    products.work = staged.up;
    product(stream, formats.up, products, hidden);
  }

  const View2<const float> made{args.scratch, pass.assignments, inner, inner};
  prepare_tiles(stream, formats.down, made, staged.tiles, nullptr, num_tiles, prepared_hidden);
  products.work = staged.down;
  products.prepared = prepared_hidden;
  products.tile_bytes = hidden_bytes;
  products.rows = args.y.cols;
  products.cols = inner;
  ProductOutput output;
  output.y = args.y;
  output.y_rows = staged.y_rows;
  product(stream, formats.down, products, output);
}

}  // namespace

void expert_ffn(Stream& stream, const ExpertFfnArgs& args) {
  std::vector<PassFormats> passes;
  for (std::int32_t g = 0; g < args.num_groups; ++g) {
    const PassFormats formats = formats_of(args.groups[g]);
    if (std::find(passes.begin(), passes.end(), formats) == passes.end()) passes.push_back(formats);
  }
  for (const PassFormats& formats : passes) {
    run_pass(cuda_stream(stream), args, formats, args.groups[0].weights.gate.rows);
  }
}

}  // namespace foregate::cuda
