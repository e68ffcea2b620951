// Brings rows of planned weights from the files into the packed layout, a bounded piece at a time: while one is packed
// the next ones are read. What the loader, `foregate pack` and experts of a model that is not packed share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/model/piece_reader.h"
#include "engine/model/weight_plan.h"
#include "engine/weights/tensor_index.h"
#include "kernels/api/op_table.h"

namespace foregate {

class WeightPacker {
 public:
  // `read_threads`: 0 reads between packing, with the same bytes.
  WeightPacker(const TensorIndex& index, const OpTable& ops, Stream& stream, int read_threads = kPieceThreads)
      : ops_(ops), stream_(stream), reader_(index, read_threads) {}

  // The items that will be packed, whole and in this order. They must stay where they are meanwhile. Up to kAheadBytes
  // of their source are held, where 16 rows fit in kPieceBytes, and what widening a piece or ordering its rows takes.
  void begin(const std::vector<const WeightItem*>& items) { reader_.begin(items); }
  // Packs the next piece, which is rows [row, row + its rows) of `item`, to `packed`: packed_bytes(item.format, rows,
  // item.cols) bytes. Gives its rows: piece_rows(item), or what is left.
  Result<std::int64_t> pack(const WeightItem& item, std::int64_t row, std::byte* packed);

  // A line for the log when values of the items so far were rounded; else empty.
  std::string rounding_note() const;
  // How many pieces had been read when they were wanted: "41 of 48 pieces read ahead".
  std::string reading_note() const;

 private:
  const std::byte* order_rows(const Piece& piece);
  const float* widen(const Piece& piece, const std::byte* rows);

  const OpTable& ops_;
  Stream& stream_;
  PieceReader reader_;
  std::vector<std::byte> ordered_;
  std::vector<float> widened_;
};

}  // namespace foregate
