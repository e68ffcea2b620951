// Brings rows of a planned weight from the files into the packed layout, a bounded piece at a time. What the loader and
// `foregate pack` share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "engine/base/status.h"
#include "engine/model/weight_plan.h"
#include "engine/weights/int4_rows.h"
#include "engine/weights/tensor_index.h"
#include "kernels/api/op_table.h"

namespace foregate {

class WeightPacker {
 public:
  WeightPacker(const TensorIndex& index, const OpTable& ops, Stream& stream)
      : index_(index), ops_(ops), stream_(stream) {}

  // Turns to an item, which must stay where it is while it is packed.
  Status open(const WeightItem& item);
  // Rows of one piece of it, the last one may have fewer: whole blocks of 16, and whole heads where rows are paired, of
  // at most 16 MiB of source where one such fits.
  std::int64_t piece_rows() const;
  // Packs rows [row, row + rows), a piece, to `packed`: packed_bytes(item.format, rows, item.cols) bytes.
  Status pack(std::int64_t row, std::int64_t rows, std::byte* packed);

  // A line for the log when values of the items so far were rounded; else empty.
  std::string rounding_note() const;

 private:
  Status read(std::int64_t row, std::int64_t rows);
  void order_rows(std::int64_t rows);
  const float* widen(DType type, std::int64_t rows, std::int64_t cols);

  const TensorIndex& index_;
  const OpTable& ops_;
  Stream& stream_;
  const WeightItem* item_ = nullptr;
  std::optional<Int4Rows> stored_;
  std::int64_t rounded_scales_ = 0;
  std::vector<std::byte> buffer_;
  std::vector<std::byte> ordered_;
  std::vector<float> widened_;
};

}  // namespace foregate
