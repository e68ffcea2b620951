// A four-bit matrix in memory, written the way a scheme stores it.
#pragma once

#include <cmath>
#include <random>

#include "engine/weights/stored_matrix.h"
#include "kernels/api/blocks.h"
#include "tests/engine/weights/tensor_file.h"

namespace foregate {

struct Int4Fixture {
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t group = 0;
  std::vector<std::uint8_t> codes;    // [rows][cols]
  std::vector<std::uint8_t> zeros;    // [rows][groups]
  std::vector<std::uint16_t> scales;  // f16, [rows][groups]

  // Every code and zero point (from `lowest` on), and scales of both signs down to subnormal ones.
  Int4Fixture(std::int64_t n, std::int64_t k, std::int64_t group_cols, bool symmetric, std::uint8_t lowest = 0)
      : rows(n), cols(k), group(group_cols) {
    std::minstd_rand random(static_cast<unsigned>(n * 31 + k));
    for (std::int64_t i = 0; i < rows * cols; ++i) codes.push_back(static_cast<std::uint8_t>(random() >> 8 & 15));
    for (std::int64_t i = 0; i < rows * groups(); ++i) {
      zeros.push_back(symmetric ? 8 : static_cast<std::uint8_t>(lowest + (random() >> 8) % (16u - lowest)));
      scales.push_back(static_cast<std::uint16_t>((random() >> 8) % 0x7800 | (random() >> 8 & 1) << 15));
    }
  }

  std::int64_t groups() const { return (cols + group - 1) / group; }
  std::size_t at(std::int64_t row, std::int64_t col) const { return static_cast<std::size_t>(row * cols + col); }
  std::size_t group_at(std::int64_t row, std::int64_t g) const { return static_cast<std::size_t>(row * groups() + g); }

  float value(std::int64_t row, std::int64_t col) const {
    const std::size_t g = group_at(row, col / group);
    return widen_f16(scales[g]) * static_cast<float>(codes[at(row, col)] - zeros[g]);
  }

  // Lines of `count` codes, eight to a word, whose nibble i is the one at order[i].
  template <class CodeAt>
  static std::vector<std::uint32_t> words(std::int64_t lines, std::int64_t count, const int (&order)[8], CodeAt code) {
    std::vector<std::uint32_t> out;
    for (std::int64_t line = 0; line < lines; ++line) {
      for (std::int64_t c = 0; c < count; c += 8) {
        std::uint32_t word = 0;
        for (int i = 0; i < 8; ++i) {
          if (c + order[i] < count) word |= static_cast<std::uint32_t>(code(line, c + order[i])) << 4 * i;
        }
        out.push_back(word);
      }
    }
    return out;
  }

  FileTensors awq(const std::string& stem) const {
    constexpr int kOrder[8] = {0, 2, 4, 6, 1, 3, 5, 7};
    FileTensors tensors;
    tensors[stem + ".qweight"] =
        file_tensor("I32", {cols, rows / 8},
                    words(cols, rows, kOrder, [&](std::int64_t c, std::int64_t r) { return codes[at(r, c)]; }));
    tensors[stem + ".qzeros"] = file_tensor(
        "I32", {groups(), rows / 8},
        words(groups(), rows, kOrder, [&](std::int64_t g, std::int64_t r) { return zeros[group_at(r, g)]; }));
    tensors[stem + ".scales"] = file_tensor("F16", {groups(), rows}, turned_scales());
    return tensors;
  }

  // Zero points are stored less `offset`, and so lie in offset .. 15.
  FileTensors gptq(const std::string& stem, std::uint8_t offset) const {
    constexpr int kOrder[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    FileTensors tensors;
    std::vector<std::uint32_t> by_row =
        words(rows, cols, kOrder, [&](std::int64_t r, std::int64_t c) { return codes[at(r, c)]; });
    std::vector<std::uint32_t> by_word;
    for (std::int64_t w = 0; w < cols / 8; ++w) {
      for (std::int64_t r = 0; r < rows; ++r) by_word.push_back(by_row[static_cast<std::size_t>(r * (cols / 8) + w)]);
    }
    tensors[stem + ".qweight"] = file_tensor("I32", {cols / 8, rows}, by_word);
    tensors[stem + ".qzeros"] = file_tensor(
        "I32", {groups(), rows / 8},
        words(groups(), rows, kOrder, [&](std::int64_t g, std::int64_t r) { return zeros[group_at(r, g)] - offset; }));
    tensors[stem + ".scales"] = file_tensor("F16", {groups(), rows}, turned_scales());
    std::vector<std::int32_t> order;
    for (std::int64_t c = 0; c < cols; ++c) order.push_back(static_cast<std::int32_t>(c / group));
    tensors[stem + ".g_idx"] = file_tensor("I32", {cols}, order);
    return tensors;
  }

  FileTensors pack_quantized(const std::string& stem, bool symmetric) const {
    constexpr int kOrder[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    FileTensors tensors;
    tensors[stem + ".weight_packed"] =
        file_tensor("I32", {rows, cols / 8},
                    words(rows, cols, kOrder, [&](std::int64_t r, std::int64_t c) { return codes[at(r, c)]; }));
    tensors[stem + ".weight_scale"] = file_tensor("F16", {rows, groups()}, scales);
    tensors[stem + ".weight_shape"] = file_tensor("I64", {2}, std::vector<std::int64_t>{rows, cols});
    if (symmetric) return tensors;
    const std::int64_t lines = (rows + 7) / 8;
    std::vector<std::uint32_t> packed(static_cast<std::size_t>(lines * groups()));
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t g = 0; g < groups(); ++g) {
        packed[static_cast<std::size_t>(r / 8 * groups() + g)] |= std::uint32_t{zeros[group_at(r, g)]} << r % 8 * 4;
      }
    }
    tensors[stem + ".weight_zero_point"] = file_tensor("I32", {lines, groups()}, packed);
    return tensors;
  }

  std::vector<std::uint16_t> turned_scales() const {
    std::vector<std::uint16_t> out;
    for (std::int64_t g = 0; g < groups(); ++g) {
      for (std::int64_t r = 0; r < rows; ++r) out.push_back(scales[group_at(r, g)]);
    }
    return out;
  }
};

}  // namespace foregate
