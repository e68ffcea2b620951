#include "engine/model/weight_packer.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "kernels/api/blocks.h"

namespace foregate {
namespace {

constexpr std::int64_t kTransientBytes = 16 << 20;  // source bytes held at a time, where 16 rows fit

std::int64_t row_bytes(const WeightItem& item) {
  return dtype_row_bytes(source_type(item), item.cols);
}

}  // namespace

Status WeightPacker::open(const WeightItem& item) {
  item_ = &item;
  stored_.reset();
  if (!item.stored) return {};
  ASSIGN_OR_RETURN(stored_, Int4Rows::open(index_, *item.stored));
  rounded_scales_ += stored_->rounded_scales();
  return {};
}

std::int64_t WeightPacker::piece_rows() const {
  // With paired rows, whole heads as well.
  const std::int64_t unit = std::lcm<std::int64_t>(kRowInterleave, std::max(item_->paired_rows, 1));
  return std::min(item_->rows, std::max(kTransientBytes / row_bytes(*item_) / unit * unit, unit));
}

// The rows of blocks in buffer_ as f32: for a router, or an expert of which another part is not quantized.
const float* WeightPacker::widen(DType type, std::int64_t rows, std::int64_t cols) {
  widened_.resize(static_cast<std::size_t>(rows * cols));
  for (std::int64_t r = 0; r < rows; ++r) {
    dequantize_row(type, buffer_.data() + r * dtype_row_bytes(type, cols), cols, widened_.data() + r * cols);
  }
  return widened_.data();
}

// Rows of each head from rope pairs (0, d/2, 1, d/2 + 1, ...) to the order in which rope takes halves. Rows are whole
// blocks, so that moving them changes no value.
void WeightPacker::order_rows(std::int64_t rows) {
  ordered_.resize(buffer_.size());
  const std::int64_t head_rows = item_->paired_rows;
  const std::int64_t half = head_rows / 2;
  const std::int64_t bytes = row_bytes(*item_);
  for (std::int64_t row = 0; row < rows; ++row) {
    const std::int64_t at = row % head_rows;
    const std::int64_t from = row - at + 2 * (at % half) + at / half;
    std::memcpy(ordered_.data() + row * bytes, buffer_.data() + from * bytes, static_cast<std::size_t>(bytes));
  }
  buffer_.swap(ordered_);
}

// Fills buffer_ with rows of the item.
Status WeightPacker::read(std::int64_t row, std::int64_t rows) {
  const std::int64_t bytes = row_bytes(*item_);
  buffer_.resize(static_cast<std::size_t>(rows * bytes));
  if (stored_) return stored_->read(row, rows, buffer_.data());
  return index_.read(*item_->entry, item_->begin + static_cast<std::uint64_t>(row * bytes), buffer_);
}

Status WeightPacker::pack(std::int64_t row, std::int64_t rows, std::byte* packed) {
  RETURN_IF_ERROR(read(row, rows));
  if (item_->paired_rows > 0) order_rows(rows);
  PackWeightArgs args{.source = buffer_.data(),
                      .source_type = source_type(*item_),
                      .rows = rows,
                      .cols = item_->cols,
                      .format = item_->format,
                      .packed = packed};
  if (is_quantized(dtype_format(args.source_type)) && !is_quantized(item_->format)) {
    args.source = widen(args.source_type, rows, item_->cols);
    args.source_type = DType::kF32;
  }
  ops_.pack_weight(stream_, args);
  stream_.synchronize();
  return {};
}

std::string WeightPacker::rounding_note() const {
  if (rounded_scales_ == 0) return {};
  return "weights: " + std::to_string(rounded_scales_) +
         " scales of quantized matrices were rounded to f16, which changes a weight by at most 2^-11 of it";
}

}  // namespace foregate
