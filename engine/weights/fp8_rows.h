// Reads a matrix of 8-bit floats of a quantized checkpoint as rows of fp8 blocks (stored_matrix.h), every value
// exactly. Scales of the whole matrix are held, bytes a few rows at a time. One thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/base/status.h"
#include "engine/weights/stored_matrix.h"

namespace foregate {

class Fp8Rows {
 public:
  // Reads the scales. kDataLoss names the tensor of one that is not finite or not below 2^120. `index` and the entries
  // of `matrix` must outlive the rows.
  static Result<Fp8Rows> open(const TensorIndex& index, const StoredMatrix& matrix);

  // Writes rows [first, first + count), each dtype_row_bytes(DType::kFp8, matrix.cols) long. kDataLoss names the tensor
  // and the place of a NaN.
  Status read(std::int64_t first, std::int64_t count, std::byte* out);

 private:
  Fp8Rows(const TensorIndex& index, const StoredMatrix& matrix) : index_(&index), matrix_(matrix) {}

  Status read_scales();
  float scale_of(std::int64_t row, std::int64_t col) const;

  const TensorIndex* index_;
  StoredMatrix matrix_;
  std::vector<float> scales_;        // [row_groups][groups]
  std::vector<std::uint8_t> codes_;  // of the rows being read
};

}  // namespace foregate
