// Matrices of 8-bit floats as rows of blocks: every byte under scales of tiles, rows or the matrix, in pieces of any
// height, and what is refused by name.
#include "engine/weights/fp8_rows.h"

#include <gtest/gtest.h>

#include <cmath>
#include <optional>

#include "kernels/api/blocks.h"
#include "tests/engine/weights/tensor_file.h"

namespace foregate {
namespace {

// Bytes that count up, NaN left out, and scales of both signs and many sizes.
struct Fp8Fixture {
  StorageRule rule;
  std::int64_t rows, cols;
  std::vector<std::uint8_t> codes;
  std::vector<float> scales;  // exact in bf16
  std::string scale_type = "F32";

  Fp8Fixture(const StorageRule& with, std::int64_t n, std::int64_t k) : rule(with), rows(n), cols(k) {
    for (std::int64_t i = 0; i < rows * cols; ++i) {
      const auto code = static_cast<std::uint8_t>(i + i / 256);
      codes.push_back((code & 0x7f) == 0x7f ? 0 : code);
    }
    for (std::int64_t i = 0; i < row_groups() * groups(); ++i) {
      scales.push_back(std::ldexp(i % 2 == 0 ? 1.25f : -1.5f, static_cast<int>(i % 40) - 30));
    }
  }
  std::int64_t group_rows() const { return rule.group_rows > 0 ? rule.group_rows : rows; }
  std::int64_t group_cols() const { return rule.group_cols > 0 ? rule.group_cols : cols; }
  std::int64_t row_groups() const { return (rows + group_rows() - 1) / group_rows(); }
  std::int64_t groups() const { return (cols + group_cols() - 1) / group_cols(); }

  float value(std::int64_t row, std::int64_t col) const {
    const auto scale = static_cast<std::size_t>(row / group_rows() * groups() + col / group_cols());
    return scales[scale] * widen_f8(codes[static_cast<std::size_t>(row * cols + col)]);
  }

  FileTensors tensors() const {
    FileTensors out;
    out["m.weight"] = file_tensor("F8_E4M3", {rows, cols}, codes);
    const std::string name = rule.storage == Storage::kFp8Tiles ? "m.weight_scale_inv" : "m.weight_scale";
    const std::vector<std::int64_t> shape =
        rule.group_rows == 0 ? std::vector<std::int64_t>{1} : std::vector{row_groups(), groups()};
    if (scale_type == "F32") {
      out[name] = file_tensor(scale_type, shape, scales);
    } else {
      std::vector<std::uint16_t> halves;
      for (const float scale : scales) halves.push_back(narrow_bf16(scale));
      out[name] = file_tensor(scale_type, shape, halves);
    }
    return out;
  }
};

constexpr StorageRule kTiles{.storage = Storage::kFp8Tiles, .group_cols = 128, .group_rows = 128};
constexpr StorageRule kWideTiles{.storage = Storage::kFp8Tiles, .group_cols = 256, .group_rows = 24};
constexpr StorageRule kByRow{.storage = Storage::kFloatQuantized};
constexpr StorageRule kByMatrix{.storage = Storage::kFloatQuantized, .group_rows = 0};

struct Opened {
  MemoryFiles disk;
  std::optional<TensorIndex> index;
  StorageRule rule;
  std::int64_t rows, cols;

  Opened(const FileTensors& tensors, const StorageRule& with, std::int64_t n, std::int64_t k)
      : rule(with), rows(n), cols(k) {
    disk.contents["f"] = tensor_file(tensors);
    auto opened = TensorIndex::open_file(disk, "f");
    EXPECT_TRUE(opened.ok()) << opened.status().to_string();
    index.emplace(std::move(opened).value());
  }
  Result<Fp8Rows> open() const {
    ASSIGN_OR_RETURN(const auto matrix, find_stored_matrix(*index, rule, "m", rows, cols));
    if (!matrix) return not_found("plain");
    EXPECT_TRUE(matrix->is_float());
    return Fp8Rows::open(*index, *matrix);
  }
};

TEST(Fp8Rows, EveryValueIsExact) {
  for (const StorageRule& rule : {kTiles, kWideTiles, kByRow, kByMatrix}) {
    for (const auto& [rows, cols] :
         std::vector<std::pair<std::int64_t, std::int64_t>>{{8, 128}, {300, 256}, {130, 384}, {1, 128}}) {
      for (const char* type : {"F32", "BF16"}) {
        Fp8Fixture matrix(rule, rows, cols);
        matrix.scale_type = type;
        const Opened file(matrix.tensors(), rule, rows, cols);
        auto opened = file.open();
        ASSERT_TRUE(opened.ok()) << opened.status().to_string();
        for (const std::int64_t step : {rows, std::int64_t{7}, std::int64_t{16}}) {
          for (std::int64_t first = 0; first < rows; first += step) {
            const std::int64_t count = std::min(step, rows - first);
            const std::int64_t row_bytes = dtype_row_bytes(DType::kFp8, cols);
            std::vector<std::byte> blocks(static_cast<std::size_t>(count * row_bytes));
            ASSERT_TRUE(opened->read(first, count, blocks.data()).ok());
            std::vector<float> values(static_cast<std::size_t>(cols));
            for (std::int64_t r = 0; r < count; ++r) {
              dequantize_row(DType::kFp8, blocks.data() + r * row_bytes, cols, values.data());
              for (std::int64_t c = 0; c < cols; ++c) {
                ASSERT_EQ(values[static_cast<std::size_t>(c)], matrix.value(first + r, c))
                    << storage_text(rule) << " row " << first + r << " column " << c;
              }
            }
          }
        }
      }
    }
  }
}

TEST(Fp8Rows, RefusesNaNByTensorAndPlace) {
  for (const std::uint8_t nan : {0x7f, 0xff}) {
    Fp8Fixture matrix(kTiles, 40, 256);
    matrix.codes[33 * 256 + 200] = nan;
    const Opened file(matrix.tensors(), kTiles, 40, 256);
    auto opened = file.open();
    ASSERT_TRUE(opened.ok());
    std::vector<std::byte> blocks(static_cast<std::size_t>(40 * dtype_row_bytes(DType::kFp8, 256)));
    EXPECT_TRUE(opened->read(0, 32, blocks.data()).ok());
    const Status status = opened->read(32, 8, blocks.data());
    EXPECT_EQ(status.code(), Code::kDataLoss);
    EXPECT_EQ(status.field(), "m.weight");
    EXPECT_NE(status.message().find("row 33, column 200"), std::string::npos) << status.message();
  }
}

TEST(Fp8Rows, RefusesScalesThatAreNotNumbersOrTooLarge) {
  for (const float bad : {NAN, INFINITY, -INFINITY, 0x1p120f, -0x1p125f}) {
    for (const StorageRule& rule : {kTiles, kByRow, kByMatrix}) {
      Fp8Fixture matrix(rule, 8, 128);
      matrix.scales.back() = bad;
      const auto status = Opened(matrix.tensors(), rule, 8, 128).open().status();
      EXPECT_EQ(status.code(), Code::kDataLoss) << bad;
      EXPECT_EQ(status.field(), rule.storage == Storage::kFp8Tiles ? "m.weight_scale_inv" : "m.weight_scale");
    }
  }
}

TEST(Fp8Rows, RefusesShapesTypesAndSizes) {
  Fp8Fixture matrix(kTiles, 200, 256);
  const auto refusal = [&](const FileTensors& tensors, std::int64_t rows = 200, std::int64_t cols = 256) {
    return Opened(tensors, kTiles, rows, cols).open().status();
  };
  FileTensors tensors = matrix.tensors();
  tensors.erase("m.weight_scale_inv");
  EXPECT_EQ(refusal(tensors).field(), "m.weight_scale_inv");
  tensors = matrix.tensors();
  tensors.erase("m.weight");
  EXPECT_EQ(refusal(tensors).field(), "m.weight");
  tensors = matrix.tensors();
  tensors["m.weight_scale_inv"].shape = {4, 1};
  EXPECT_EQ(refusal(tensors).field(), "m.weight_scale_inv");
  tensors = matrix.tensors();
  tensors["m.weight"].dtype = "F8_E5M2";
  EXPECT_EQ(refusal(tensors).code(), Code::kUnimplemented);
  EXPECT_EQ(refusal(Fp8Fixture(kTiles, 8, 192).tensors(), 8, 192).code(), Code::kUnimplemented);
}

TEST(Fp8Rows, ReportsEveryFailedRead) {
  Opened file(Fp8Fixture(kTiles, 16, 128).tensors(), kTiles, 16, 128);
  std::vector<std::byte> blocks(static_cast<std::size_t>(16 * dtype_row_bytes(DType::kFp8, 128)));
  for (std::uint64_t n = 1; n <= 2; ++n) {
    file.disk.reads = 0;
    file.disk.fail_read = n;
    auto opened = file.open();
    const Status status = opened.ok() ? opened->read(0, 16, blocks.data()) : opened.status();
    EXPECT_EQ(status.code(), Code::kUnavailable) << n;
  }
}

TEST(Fp8Rows, LeavesPlainMatricesAlone) {
  FileTensors tensors;
  tensors["m.weight"] = file_tensor("BF16", {8, 128}, std::vector<std::uint16_t>(8 * 128));
  for (const StorageRule& rule : {kTiles, kByRow}) {
    EXPECT_EQ(Opened(tensors, rule, 8, 128).open().status().code(), Code::kNotFound);
  }
}

}  // namespace
}  // namespace foregate
