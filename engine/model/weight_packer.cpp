#include "engine/model/weight_packer.h"

#include <cstring>

#include "kernels/api/blocks.h"
#include "kernels/api/check.h"

namespace foregate {

// Rows of blocks as f32: for a router, or an expert of which another part is not quantized.
const float* WeightPacker::widen(const Piece& piece, const std::byte* rows) {
  const DType type = source_type(*piece.item);
  const std::int64_t cols = piece.item->cols;
  widened_.resize(static_cast<std::size_t>(piece.rows * cols));
  for (std::int64_t r = 0; r < piece.rows; ++r) {
    dequantize_row(type, rows + r * dtype_row_bytes(type, cols), cols, widened_.data() + r * cols);
  }
  return widened_.data();
}

// Rows of each head from rope pairs (0, d/2, 1, d/2 + 1, ...) to the order in which rope takes halves. Rows are whole
// blocks, so that moving them changes no value.
const std::byte* WeightPacker::order_rows(const Piece& piece) {
  ordered_.resize(static_cast<std::size_t>(piece.size));
  const std::int64_t head_rows = piece.item->paired_rows;
  const std::int64_t half = head_rows / 2;
  const std::int64_t bytes = dtype_row_bytes(source_type(*piece.item), piece.item->cols);
  for (std::int64_t row = 0; row < piece.rows; ++row) {
    const std::int64_t at = row % head_rows;
    const std::int64_t from = row - at + 2 * (at % half) + at / half;
    std::memcpy(ordered_.data() + row * bytes, piece.bytes + from * bytes, static_cast<std::size_t>(bytes));
  }
  return ordered_.data();
}

Result<std::int64_t> WeightPacker::pack(const WeightItem& item, std::int64_t row, std::byte* packed) {
  ASSIGN_OR_RETURN(Piece* const piece, reader_.next());
  CHECK(piece->item == &item && piece->row == row);
  const std::byte* const rows = item.paired_rows > 0 ? order_rows(*piece) : piece->bytes;
  PackWeightArgs args{.source = rows,
                      .source_type = source_type(item),
                      .rows = piece->rows,
                      .cols = item.cols,
                      .format = item.format,
                      .packed = packed};
  if (has_blocks(dtype_format(args.source_type)) && !has_blocks(item.format)) {
    args.source = widen(*piece, rows);
    args.source_type = DType::kF32;
  }
  ops_.pack_weight(stream_, args);
  stream_.synchronize();
  return piece->rows;
}

std::string WeightPacker::rounding_note() const {
  if (reader_.rounded_scales() == 0) return {};
  return "weights: " + std::to_string(reader_.rounded_scales()) +
         " scales of quantized matrices were rounded to f16, which changes a weight by at most 2^-11 of it";
}

std::string WeightPacker::reading_note() const {
  return std::to_string(reader_.ready()) + " of " + std::to_string(reader_.pieces()) + " pieces read ahead";
}

}  // namespace foregate
