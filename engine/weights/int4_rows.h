// Reads a four-bit matrix of a quantized checkpoint as rows of q4_0 or q5_0 blocks (stored_matrix.h says which, and
// that the values stay the same). Scales and zero points of the whole matrix are held, codes a few rows at a time.
// One thread at a time.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/base/status.h"
#include "engine/weights/stored_matrix.h"

namespace foregate {

class Int4Rows {
 public:
  // Reads scales and zero points. kDataLoss names the tensor that holds something else than the config says, or a
  // scale that is not finite or beyond f16; kUnimplemented one whose columns are in activation order. `index` and the
  // entries of `matrix` must outlive the rows.
  static Result<Int4Rows> open(const TensorIndex& index, const StoredMatrix& matrix);

  // Writes rows [first, first + count), each dtype_row_bytes(matrix.type, matrix.cols) long. `first` is a multiple of
  // 8, and so is `count` unless the rows end with it.
  Status read(std::int64_t first, std::int64_t count, std::byte* out);

  std::int64_t rounded_scales() const { return rounded_scales_; }  // that an f16 does not hold exactly

 private:
  using Words = std::array<std::uint32_t, 4>;  // codes of 32 columns of a row: nibble i of word j is column 8 * j + i

  Int4Rows(const TensorIndex& index, const StoredMatrix& matrix) : index_(&index), matrix_(matrix) {}

  Status check_shape() const;
  Status read_scales();
  Status read_zeros();
  Status settle_gptq_zeros();
  Status check_order() const;
  Status read_codes(std::int64_t first, std::int64_t count);
  void column_words(std::int64_t row, std::int64_t count, std::int64_t k, Words* out) const;
  void write_block(std::int64_t row, std::int64_t k, const Words& words, std::byte* out) const;

  const TensorIndex* index_;
  StoredMatrix matrix_;
  std::vector<std::uint16_t> scales_;  // f16, [rows][groups]
  std::vector<std::uint8_t> zeros_;    // [rows][groups]; empty when symmetric
  std::vector<std::uint32_t> codes_;   // of the rows being read, in the order of the file
  std::int64_t rounded_scales_ = 0;
};

}  // namespace foregate
