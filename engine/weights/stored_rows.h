// Rows of a matrix that several tensors hold (stored_matrix.h), as blocks of its type: four-bit or 8-bit floats. One
// thread at a time.
#pragma once

#include <utility>
#include <variant>

#include "engine/weights/fp8_rows.h"
#include "engine/weights/int4_rows.h"

namespace foregate {

class StoredRows {
 public:
  // As Int4Rows and Fp8Rows say; what is said of four-bit rows of `read` holds for both.
  static Result<StoredRows> open(const TensorIndex& index, const StoredMatrix& matrix) {
    if (matrix.is_float()) {
      ASSIGN_OR_RETURN(Fp8Rows rows, Fp8Rows::open(index, matrix));
      return StoredRows(std::move(rows));
    }
    ASSIGN_OR_RETURN(Int4Rows rows, Int4Rows::open(index, matrix));
    return StoredRows(std::move(rows));
  }

  Status read(std::int64_t first, std::int64_t count, std::byte* out) {
    return std::visit([&](auto& rows) { return rows.read(first, count, out); }, rows_);
  }
  std::int64_t rounded_scales() const {
    const auto* int4 = std::get_if<Int4Rows>(&rows_);
    return int4 != nullptr ? int4->rounded_scales() : 0;
  }

 private:
  explicit StoredRows(std::variant<Int4Rows, Fp8Rows> rows) : rows_(std::move(rows)) {}
  std::variant<Int4Rows, Fp8Rows> rows_;
};

}  // namespace foregate
