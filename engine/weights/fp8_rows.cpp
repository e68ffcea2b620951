#include "engine/weights/fp8_rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>

#include "engine/weights/scale_tensor.h"
#include "kernels/api/blocks.h"

namespace foregate {
namespace {

constexpr std::int64_t kBlock = dtype_block(DType::kFp8).elements;

Status bad_tensor(const TensorIndex& index, const TensorEntry& entry, const std::string& what) {
  return data_loss(index.path_of(entry) + ": tensor \"" + entry.name + "\" " + what, entry.name);
}

bool is_nan(std::uint8_t code) {
  return (code & 0x7f) == 0x7f;
}

}  // namespace

Result<Fp8Rows> Fp8Rows::open(const TensorIndex& index, const StoredMatrix& matrix) {
  Fp8Rows rows(index, matrix);
  RETURN_IF_ERROR(rows.read_scales());
  return rows;
}

Status Fp8Rows::read_scales() {
  ASSIGN_OR_RETURN(scales_, read_scale_tensor(*index_, *matrix_.scales));
  for (std::size_t i = 0; i < scales_.size(); ++i) {
    if (std::fabs(scales_[i]) < 0x1p120f) continue;
    return bad_tensor(*index_, *matrix_.scales,
                      "has " + std::to_string(scales_[i]) + " as scale number " + std::to_string(i));
  }
  return {};
}

float Fp8Rows::scale_of(std::int64_t row, std::int64_t col) const {
  const std::int64_t row_group = matrix_.rule.group_rows > 0 ? row / matrix_.rule.group_rows : 0;
  return scales_[static_cast<std::size_t>(row_group * matrix_.groups() + col / matrix_.group_cols())];
}

Status Fp8Rows::read(std::int64_t first, std::int64_t count, std::byte* out) {
  const std::int64_t cols = matrix_.cols;
  codes_.resize(static_cast<std::size_t>(count * cols));
  RETURN_IF_ERROR(index_->read(*matrix_.codes, static_cast<std::uint64_t>(first * cols),
                               std::as_writable_bytes(std::span(codes_))));
  if (const auto nan = std::find_if(codes_.begin(), codes_.end(), is_nan); nan != codes_.end()) {
    const std::int64_t at = nan - codes_.begin();
    return bad_tensor(*index_, *matrix_.codes,
                      "has NaN in row " + std::to_string(first + at / cols) + ", column " + std::to_string(at % cols));
  }
  const std::uint8_t* from = codes_.data();
  for (std::int64_t row = first; row < first + count; ++row) {
    for (std::int64_t col = 0; col < cols; col += kBlock, from += kBlock) {
      const float scale = scale_of(row, col);
      std::memcpy(out, &scale, sizeof scale);
      std::memcpy(out + sizeof scale, from, kBlock);
      out += sizeof scale + kBlock;
    }
  }
  return {};
}

}  // namespace foregate
