#include "engine/weights/int4_rows.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <span>

#include "engine/weights/scale_tensor.h"
#include "kernels/api/blocks.h"
#include "kernels/api/quant.h"

namespace foregate {
namespace {

static_assert(std::endian::native == std::endian::little, "words are read as they lie in the file");

constexpr std::int64_t kCodesPerWord = 8;
constexpr std::uint8_t kMiddle = 8;  // the zero point of symmetric codes
// Nibble i of a word of AWQ belongs to row kAwqOrder[i] of its eight.
constexpr std::uint8_t kAwqOrder[kCodesPerWord] = {0, 2, 4, 6, 1, 3, 5, 7};

std::uint8_t nibble(std::uint32_t word, std::int64_t i) {
  return static_cast<std::uint8_t>(word >> 4 * i & 15);
}

// Nibble j of word i goes to nibble i of word j.
void transpose_nibbles(std::uint32_t (&w)[kCodesPerWord]) {
  const auto swap = [&](int low, int high, int shift, std::uint32_t mask) {
    const std::uint32_t changed = ((w[low] >> shift) ^ w[high]) & mask;
    w[high] ^= changed;
    w[low] ^= changed << shift;
  };
  for (const int i : {0, 1, 2, 3}) swap(i, i + 4, 16, 0x0000ffffu);
  for (const int i : {0, 1, 4, 5}) swap(i, i + 2, 8, 0x00ff00ffu);
  for (const int i : {0, 2, 4, 6}) swap(i, i + 1, 4, 0x0f0f0f0fu);
}

// Eight nibbles as eight bytes.
std::uint64_t spread(std::uint32_t word) {
  std::uint64_t x = word;
  x = (x | x << 16) & 0x0000ffff0000ffffu;
  x = (x | x << 8) & 0x00ff00ff00ff00ffu;
  return (x | x << 4) & 0x0f0f0f0f0f0f0f0fu;
}

// Bit 4 of eight bytes as one byte.
std::uint8_t fifth_bits(std::uint64_t bytes) {
  return static_cast<std::uint8_t>((bytes >> 4 & 0x0101010101010101u) * 0x0102040810204080u >> 56);
}

Status bad_tensor(const TensorIndex& index, const TensorEntry& entry, const std::string& what) {
  return data_loss(index.path_of(entry) + ": tensor \"" + entry.name + "\" " + what, entry.name);
}

template <class T>
Status read_whole(const TensorIndex& index, const TensorEntry& entry, std::vector<T>& out) {
  out.resize(entry.bytes / sizeof(T));
  return index.read(entry, 0, std::as_writable_bytes(std::span(out)));
}

}  // namespace

Result<Int4Rows> Int4Rows::open(const TensorIndex& index, const StoredMatrix& matrix) {
  Int4Rows rows(index, matrix);
  RETURN_IF_ERROR(rows.check_shape());
  RETURN_IF_ERROR(rows.read_scales());
  RETURN_IF_ERROR(rows.read_zeros());
  if (matrix.rule.storage == Storage::kGptq) RETURN_IF_ERROR(rows.settle_gptq_zeros());
  RETURN_IF_ERROR(rows.check_order());
  return rows;
}

// pack-quantized writes the shape out.
Status Int4Rows::check_shape() const {
  if (matrix_.shape == nullptr) return {};
  std::int64_t shape[2] = {};
  if (matrix_.shape->dtype == DType::kI64) {
    RETURN_IF_ERROR(index_->read(*matrix_.shape, 0, std::as_writable_bytes(std::span(shape))));
  } else {
    std::int32_t narrow[2] = {};
    RETURN_IF_ERROR(index_->read(*matrix_.shape, 0, std::as_writable_bytes(std::span(narrow))));
    std::copy(narrow, narrow + 2, shape);
  }
  if (shape[0] == matrix_.rows && shape[1] == matrix_.cols) return {};
  return bad_tensor(*index_, *matrix_.shape,
                    "holds [" + std::to_string(shape[0]) + ", " + std::to_string(shape[1]) + "], the config implies [" +
                        std::to_string(matrix_.rows) + ", " + std::to_string(matrix_.cols) + "]");
}

Status Int4Rows::read_scales() {
  const TensorEntry& entry = *matrix_.scales;
  const std::int64_t groups = matrix_.groups();
  const bool by_group = matrix_.rule.storage != Storage::kPackQuantized;
  ASSIGN_OR_RETURN(const std::vector<float> stored, read_scale_tensor(*index_, entry));
  scales_.resize(static_cast<std::size_t>(matrix_.rows * groups));
  for (std::int64_t row = 0; row < matrix_.rows; ++row) {
    for (std::int64_t g = 0; g < groups; ++g) {
      const auto from = static_cast<std::size_t>(by_group ? g * matrix_.rows + row : row * groups + g);
      const float scale = stored[from];
      const std::uint16_t half = narrow_f16(scale);
      if (!std::isfinite(widen_f16(half))) {
        return bad_tensor(*index_, entry,
                          std::isfinite(scale) ? "has a scale of " + std::to_string(scale) + ", which is beyond f16"
                                               : "has a scale that is not finite, of row " + std::to_string(row));
      }
      rounded_scales_ += widen_f16(half) != scale;
      scales_[static_cast<std::size_t>(row * groups + g)] = half;
    }
  }
  return {};
}

Status Int4Rows::read_zeros() {
  if (matrix_.zeros == nullptr) return {};
  const std::int64_t groups = matrix_.groups();
  std::vector<std::uint32_t> words;
  RETURN_IF_ERROR(read_whole(*index_, *matrix_.zeros, words));
  zeros_.resize(static_cast<std::size_t>(matrix_.rows * groups));
  const auto zero_at = [&](std::int64_t row, std::int64_t g) -> std::uint8_t& {
    return zeros_[static_cast<std::size_t>(row * groups + g)];
  };
  for (std::int64_t first = 0; first < matrix_.rows; first += kCodesPerWord) {
    const std::int64_t count = std::min(kCodesPerWord, matrix_.rows - first);
    for (std::int64_t g = 0; g < groups; ++g) {
      const bool by_row = matrix_.rule.storage == Storage::kPackQuantized;
      const std::int64_t at =
          by_row ? first / kCodesPerWord * groups + g : g * (matrix_.rows / kCodesPerWord) + first / kCodesPerWord;
      const std::uint32_t word = words[static_cast<std::size_t>(at)];
      const bool awq = matrix_.rule.storage == Storage::kAwq;
      for (std::int64_t i = 0; i < count; ++i) zero_at(first + (awq ? kAwqOrder[i] : i), g) = nibble(word, i);
    }
  }
  return {};
}

// Zero points from those in the file. Symmetric files hold 7 in version 1 and 8 in version 2, but some writers put 8
// under the name of version 1; as the meaning is 8 either way, both are taken. In other files of version 1 a 15 is
// zero point 16 to some readers and, wrapped around, 0 to others (and to writers), so it is refused.
Status Int4Rows::settle_gptq_zeros() {
  const auto fault = [&](int found, const std::string& why) {
    return bad_tensor(*index_, *matrix_.zeros, "holds " + std::to_string(found) + why);
  };
  if (matrix_.rule.symmetric) {
    const std::uint8_t first = zeros_.front();
    for (const std::uint8_t zero : zeros_) {
      if (zero != first || (zero != kMiddle && zero != kMiddle - 1)) {
        return fault(zero, " where a symmetric checkpoint has 7 or 8 throughout");
      }
    }
    zeros_.clear();
    return {};
  }
  for (std::uint8_t& zero : zeros_) {
    if (zero + matrix_.rule.zero_offset > 15) return fault(zero, ", which means zero point 16 or 0");
    zero = static_cast<std::uint8_t>(zero + matrix_.rule.zero_offset);
  }
  return {};
}

// The group of each column must be the one it lies in.
Status Int4Rows::check_order() const {
  if (matrix_.order == nullptr) return {};
  std::vector<std::int32_t> order;
  RETURN_IF_ERROR(read_whole(*index_, *matrix_.order, order));
  std::int64_t moved = -1;
  for (std::int64_t k = 0; k < matrix_.cols; ++k) {
    const std::int64_t group = order[static_cast<std::size_t>(k)];
    if (group < 0 || group >= matrix_.groups()) {
      return bad_tensor(*index_, *matrix_.order,
                        "puts column " + std::to_string(k) + " into group " + std::to_string(group) + " of " +
                            std::to_string(matrix_.groups()));
    }
    if (moved < 0 && group != k / matrix_.group_cols()) moved = k;
  }
  if (moved < 0) return {};
  return unimplemented(index_->path_of(*matrix_.order) + ": tensor \"" + matrix_.order->name + "\" has column " +
                           std::to_string(moved) +
                           " in another group than its neighbours: activation order (desc_act) is not supported",
                       matrix_.order->name);
}

// The codes of some rows: one range of the file, or a piece of each line where the columns are lines.
Status Int4Rows::read_codes(std::int64_t first, std::int64_t count) {
  const TensorEntry& entry = *matrix_.codes;
  codes_.resize(static_cast<std::size_t>(count * matrix_.cols / kCodesPerWord));
  const std::span<std::byte> out = std::as_writable_bytes(std::span(codes_));
  if (matrix_.rule.storage == Storage::kPackQuantized || count == matrix_.rows) {
    return index_->read(entry, static_cast<std::uint64_t>(first * matrix_.cols / 2), out);
  }
  const auto lines = static_cast<std::uint64_t>(entry.shape[0]);
  const std::uint64_t line_bytes = entry.bytes / lines;
  const std::uint64_t piece = out.size() / lines;
  const std::uint64_t begin = line_bytes * static_cast<std::uint64_t>(first) / static_cast<std::uint64_t>(matrix_.rows);
  for (std::uint64_t line = 0; line < lines; ++line) {
    RETURN_IF_ERROR(index_->read(entry, line * line_bytes + begin, out.subspan(line * piece, piece)));
  }
  return {};
}

// The words of columns [k, k + 32) of rows row .. row + count of those in codes_.
void Int4Rows::column_words(std::int64_t row, std::int64_t count, std::int64_t k, Words* out) const {
  if (matrix_.rule.storage == Storage::kPackQuantized) {
    const std::int64_t line = matrix_.cols / kCodesPerWord;
    for (std::int64_t r = 0; r < count; ++r) {
      std::memcpy(out[r].data(), codes_.data() + (row + r) * line + k / kCodesPerWord, sizeof(Words));
    }
    return;
  }
  if (matrix_.rule.storage == Storage::kGptq) {
    const std::int64_t line = static_cast<std::int64_t>(codes_.size()) * kCodesPerWord / matrix_.cols;
    for (std::size_t j = 0; j < std::tuple_size_v<Words>; ++j) {
      const std::uint32_t* from = codes_.data() + (k / kCodesPerWord + static_cast<std::int64_t>(j)) * line + row;
      for (std::int64_t r = 0; r < count; ++r) out[r][j] = from[r];
    }
    return;
  }
  const std::int64_t line = static_cast<std::int64_t>(codes_.size()) / matrix_.cols;
  for (std::int64_t r = 0; r < count; r += kCodesPerWord) {
    const std::uint32_t* from = codes_.data() + k * line + (row + r) / kCodesPerWord;
    for (std::size_t j = 0; j < std::tuple_size_v<Words>; ++j, from += kCodesPerWord * line) {
      std::uint32_t words[kCodesPerWord];
      for (std::int64_t i = 0; i < kCodesPerWord; ++i) words[i] = from[i * line];
      transpose_nibbles(words);
      for (std::int64_t i = 0; i < kCodesPerWord; ++i) out[r + kAwqOrder[i]][j] = words[i];
    }
  }
}

// ggml's block_q4_0 or block_q5_0 (kernels/api/blocks.h): columns 0-15 in the low halves of sixteen bytes.
void Int4Rows::write_block(std::int64_t row, std::int64_t k, const Words& words, std::byte* out) const {
  const auto at = static_cast<std::size_t>(row * matrix_.groups() + k / matrix_.group_cols());
  std::uint64_t codes[4];
  for (int i = 0; i < 4; ++i) codes[i] = spread(words[static_cast<std::size_t>(i)]);
  std::memcpy(out, &scales_[at], 2);
  out += 2;
  if (matrix_.type == DType::kQ5_0) {
    const std::uint8_t shift = 2 * kMiddle - (zeros_.empty() ? kMiddle : zeros_[at]);
    for (int i = 0; i < 4; ++i) {
      codes[i] += shift * 0x0101010101010101u;
      out[i] = std::byte{fifth_bits(codes[i])};
      codes[i] &= 0x0f0f0f0f0f0f0f0fu;
    }
    out += 4;
  }
  const std::uint64_t halves[2] = {codes[0] | codes[2] << 4, codes[1] | codes[3] << 4};
  std::memcpy(out, halves, sizeof halves);
}

Status Int4Rows::read(std::int64_t first, std::int64_t count, std::byte* out) {
  RETURN_IF_ERROR(read_codes(first, count));
  const std::int64_t row_bytes = dtype_row_bytes(matrix_.type, matrix_.cols);
  const int block_bytes = dtype_block(matrix_.type).bytes;
  for (std::int64_t row = 0; row < count; row += kRowInterleave) {
    const std::int64_t height = std::min<std::int64_t>(kRowInterleave, count - row);
    for (std::int64_t k = 0; k < matrix_.cols; k += kQuantGroup) {
      Words words[kRowInterleave];
      column_words(row, height, k, words);
      std::byte* block = out + row * row_bytes + k / kQuantGroup * block_bytes;
      for (std::int64_t r = 0; r < height; ++r) write_block(first + row + r, k, words[r], block + r * row_bytes);
    }
  }
  return {};
}

}  // namespace foregate
