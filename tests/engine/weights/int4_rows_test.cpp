// Four-bit matrices of quantized checkpoints as rows of blocks: every value, in pieces of any height, and every
// refusal.
#include "engine/weights/int4_rows.h"

#include <gtest/gtest.h>

#include <functional>

#include "tests/engine/weights/stored_fixture.h"

namespace foregate {
namespace {

struct Scheme {
  const char* name;
  StorageRule rule;
  bool symmetric;
  std::uint8_t lowest_zero;
  FileTensors (*store)(const Int4Fixture&, const std::string&);
};

const std::vector<Scheme> kSchemes = {
    {"awq", {.storage = Storage::kAwq}, false, 0, [](const Int4Fixture& m, const std::string& s) { return m.awq(s); }},
    {"gptq 1",
     {.storage = Storage::kGptq, .zero_offset = 1},
     false,
     1,
     [](const Int4Fixture& m, const std::string& s) { return m.gptq(s, 1); }},
    {"gptq 2",
     {.storage = Storage::kGptq, .zero_offset = 0},
     false,
     0,
     [](const Int4Fixture& m, const std::string& s) { return m.gptq(s, 0); }},
    {"gptq symmetric",
     {.storage = Storage::kGptq, .symmetric = true, .zero_offset = 1, .ordered = true},
     true,
     8,
     [](const Int4Fixture& m, const std::string& s) { return m.gptq(s, 1); }},
    {"gptq symmetric, zero points of version 2 under the name of version 1",
     {.storage = Storage::kGptq, .symmetric = true, .zero_offset = 1},
     true,
     8,
     [](const Int4Fixture& m, const std::string& s) { return m.gptq(s, 0); }},
    {"packed asymmetric",
     {.storage = Storage::kPackQuantized},
     false,
     0,
     [](const Int4Fixture& m, const std::string& s) { return m.pack_quantized(s, false); }},
    {"packed symmetric",
     {.storage = Storage::kPackQuantized, .symmetric = true},
     true,
     8,
     [](const Int4Fixture& m, const std::string& s) { return m.pack_quantized(s, true); }},
};

// A file of one matrix "m", opened.
struct Opened {
  MemoryFiles disk;
  std::optional<TensorIndex> index;
  StorageRule rule;
  std::int64_t rows;
  std::int64_t cols;

  Opened(const FileTensors& tensors, const StorageRule& with, std::int64_t n, std::int64_t k)
      : rule(with), rows(n), cols(k) {
    disk.contents["f"] = tensor_file(tensors);
    auto opened = TensorIndex::open_file(disk, "f");
    EXPECT_TRUE(opened.ok()) << opened.status().to_string();
    index.emplace(std::move(opened).value());
  }

  Result<Int4Rows> open() const {
    ASSIGN_OR_RETURN(const auto matrix, find_stored_matrix(*index, rule, "m", rows, cols));
    if (!matrix) return not_found("plain");
    return Int4Rows::open(*index, *matrix);
  }
};

TEST(Int4Rows, EveryValueIsExact) {
  for (const Scheme& scheme : kSchemes) {
    for (const auto& [rows, cols, group] : std::vector<std::array<std::int64_t, 3>>{
             {8, 32, 32}, {48, 256, 64}, {64, 128, 128}, {40, 160, 64}, {24, 96, 96}}) {
      const Int4Fixture matrix(rows, cols, group, scheme.symmetric, scheme.lowest_zero);
      StorageRule rule = scheme.rule;
      rule.group_cols = group == cols ? 0 : group;
      const Opened file(scheme.store(matrix, "m"), rule, rows, cols);
      auto opened = file.open();
      ASSERT_TRUE(opened.ok()) << scheme.name << " " << opened.status().to_string();
      EXPECT_EQ(opened->rounded_scales(), 0);
      const DType type = scheme.symmetric ? DType::kQ4_0 : DType::kQ5_0;
      for (const std::int64_t step : {rows, std::int64_t{8}, std::int64_t{16}}) {
        for (std::int64_t first = 0; first < rows; first += step) {
          const std::int64_t count = std::min(step, rows - first);
          std::vector<std::byte> blocks(static_cast<std::size_t>(count * dtype_row_bytes(type, cols)));
          ASSERT_TRUE(opened->read(first, count, blocks.data()).ok());
          for (std::int64_t r = 0; r < count; ++r) {
            std::vector<float> values(static_cast<std::size_t>(cols));
            dequantize_row(type, blocks.data() + r * dtype_row_bytes(type, cols), cols, values.data());
            for (std::int64_t c = 0; c < cols; ++c) {
              ASSERT_EQ(values[static_cast<std::size_t>(c)], matrix.value(first + r, c))
                  << scheme.name << " row " << first + r << " column " << c;
            }
          }
        }
      }
    }
  }
}

TEST(Int4Rows, RowsNeedNotFillWordsWhereTheyAreTheLines) {
  const Int4Fixture matrix(13, 64, 32, false);
  const Opened file(matrix.pack_quantized("m", false), {Storage::kPackQuantized, 32, false}, 13, 64);
  auto opened = file.open();
  ASSERT_TRUE(opened.ok()) << opened.status().to_string();
  std::vector<std::byte> blocks(static_cast<std::size_t>(13 * dtype_row_bytes(DType::kQ5_0, 64)));
  ASSERT_TRUE(opened->read(0, 13, blocks.data()).ok());
  std::vector<float> values(64);
  dequantize_row(DType::kQ5_0, blocks.data() + 12 * dtype_row_bytes(DType::kQ5_0, 64), 64, values.data());
  for (std::int64_t c = 0; c < 64; ++c) EXPECT_EQ(values[static_cast<std::size_t>(c)], matrix.value(12, c));
}

// bf16 scales above 2^-17 are f16 values; f32 ones are rounded to the nearest, and counted.
TEST(Int4Rows, OtherScalesKeepTheStatedBound) {
  const Int4Fixture matrix(8, 64, 32, false);
  for (const bool wide : {false, true}) {
    FileTensors tensors = matrix.awq("m");
    std::vector<float> scales;
    std::minstd_rand random(7);
    std::vector<std::uint16_t> halves;
    for (int i = 0; i < 16; ++i) {
      const float scale = std::ldexp(1.0f + static_cast<float>(random() % 10000) / 10000.0f, -i % 18);
      halves.push_back(narrow_bf16(scale));
      scales.push_back(wide ? scale : widen_bf16(halves.back()));
    }
    tensors["m.scales"] = wide ? file_tensor("F32", {2, 8}, scales) : file_tensor("BF16", {2, 8}, halves);
    const Opened file(tensors, {Storage::kAwq, 32, false}, 8, 64);
    auto opened = file.open();
    ASSERT_TRUE(opened.ok()) << opened.status().to_string();
    EXPECT_EQ(opened->rounded_scales() > 0, wide);
    std::vector<std::byte> blocks(static_cast<std::size_t>(8 * dtype_row_bytes(DType::kQ5_0, 64)));
    ASSERT_TRUE(opened->read(0, 8, blocks.data()).ok());
    std::vector<float> values(64);
    for (std::int64_t r = 0; r < 8; ++r) {
      dequantize_row(DType::kQ5_0, blocks.data() + r * dtype_row_bytes(DType::kQ5_0, 64), 64, values.data());
      for (std::int64_t c = 0; c < 64; ++c) {
        const std::size_t g = matrix.group_at(r, c / 32);
        const double exact = static_cast<double>(scales[static_cast<std::size_t>(c / 32 * 8 + r)]) *
                             (matrix.codes[matrix.at(r, c)] - matrix.zeros[g]);
        const double bound = wide ? std::max(std::fabs(exact) * 0x1p-11, 16 * 0x1p-25) : 0.0;
        EXPECT_LE(std::fabs(values[static_cast<std::size_t>(c)] - exact), bound);
      }
    }
  }
}

struct Fault {
  const char* tensor;  // named in Status::field
  const char* says;    // part of the message
  std::function<void(FileTensors&)> make;
};

void expect_refusals(const FileTensors& good, const StorageRule& rule, const std::vector<Fault>& faults) {
  ASSERT_TRUE(Opened(good, rule, 16, 64).open().ok());
  for (const Fault& fault : faults) {
    FileTensors tensors = good;
    fault.make(tensors);
    const auto opened = Opened(tensors, rule, 16, 64).open();
    ASSERT_FALSE(opened.ok()) << fault.tensor << " " << fault.says;
    EXPECT_EQ(opened.status().field(), fault.tensor) << opened.status().to_string();
    EXPECT_NE(opened.status().message().find(fault.says), std::string::npos) << opened.status().to_string();
  }
}

TEST(Int4Rows, RefusesBadAwqTensorsByName) {
  const FileTensors good = Int4Fixture(16, 64, 32, false).awq("m");
  expect_refusals(
      good, {Storage::kAwq, 32, false},
      {{"m.qweight", "is missing", [](auto& t) { t.erase("m.qweight"); }},
       {"m.scales", "is missing", [](auto& t) { t.erase("m.scales"); }},
       {"m.qzeros", "is missing", [](auto& t) { t.erase("m.qzeros"); }},
       {"m.qweight", "shape [2, 64]",
        [](auto& t) {
          t["m.qweight"].shape = {2, 64};
        }},
       {"m.scales", "shape [16, 2]",
        [](auto& t) {
          t["m.scales"].shape = {16, 2};
        }},
       {"m.scales", "shape [32]", [](auto& t) { t["m.scales"].shape = {32}; }},
       {"m.qzeros", "shape [4]", [](auto& t) { t["m.qzeros"].shape = {4}; }},
       {"m.qweight", "type F32", [](auto& t) { t["m.qweight"].dtype = "F32"; }},
       {"m.scales", "type I16", [](auto& t) { t["m.scales"].dtype = "I16"; }},
       {"m.scales", "not finite", [](auto& t) { t["m.scales"].template set<std::uint16_t>(5, 0x7e00); }},
       {"m.scales", "not finite, of row 9", [](auto& t) { t["m.scales"].template set<std::uint16_t>(25, 0xfc00); }},
       {"m.scales", "beyond f16", [](auto& t) {
          t["m.scales"] = file_tensor("F32", {2, 16}, std::vector<float>(32, 1e5f));
        }}});
}

TEST(Int4Rows, RefusesBadPackQuantizedTensorsByName) {
  const FileTensors good = Int4Fixture(16, 64, 32, false).pack_quantized("m", false);
  expect_refusals(
      good, {Storage::kPackQuantized, 32, false},
      {{"m.weight_packed", "is missing", [](auto& t) { t.erase("m.weight_packed"); }},
       {"m.weight_scale", "is missing", [](auto& t) { t.erase("m.weight_scale"); }},
       {"m.weight_zero_point", "is missing", [](auto& t) { t.erase("m.weight_zero_point"); }},
       {"m.weight_shape", "is missing", [](auto& t) { t.erase("m.weight_shape"); }},
       {"m.weight_packed", "shape [8, 16]",
        [](auto& t) {
          t["m.weight_packed"].shape = {8, 16};
        }},
       {"m.weight_scale", "shape [2, 16]",
        [](auto& t) {
          t["m.weight_scale"].shape = {2, 16};
        }},
       {"m.weight_shape", "holds [16, 65]", [](auto& t) { t["m.weight_shape"].template set<std::int64_t>(1, 65); }},
       {"m.weight_shape", "holds [-1, 64]", [](auto& t) { t["m.weight_shape"].template set<std::int64_t>(0, -1); }},
       {"m.weight_g_idx", "activation order",
        [](auto& t) { t["m.weight_g_idx"] = file_tensor("I32", {64}, std::vector<std::int32_t>(64)); }},
       {"m.weight_scale", "not finite", [](auto& t) { t["m.weight_scale"].template set<std::uint16_t>(0, 0x7c01); }}});
}

TEST(Int4Rows, RefusesBadGptqTensorsByName) {
  const StorageRule rule{.storage = Storage::kGptq, .group_cols = 32, .zero_offset = 1, .ordered = true};
  const FileTensors good = Int4Fixture(16, 64, 32, false, 1).gptq("m", 1);
  expect_refusals(
      good, rule,
      {{"m.qweight", "is missing", [](auto& t) { t.erase("m.qweight"); }},
       {"m.scales", "is missing", [](auto& t) { t.erase("m.scales"); }},
       {"m.qzeros", "is missing", [](auto& t) { t.erase("m.qzeros"); }},
       {"m.g_idx", "is missing", [](auto& t) { t.erase("m.g_idx"); }},
       {"m.qweight", "shape [16, 8]",
        [](auto& t) {
          t["m.qweight"].shape = {16, 8};
        }},
       {"m.g_idx", "shape [32, 2]",
        [](auto& t) {
          t["m.g_idx"].shape = {32, 2};
        }},
       {"m.g_idx", "into group 2 of 2", [](auto& t) { t["m.g_idx"].template set<std::int32_t>(63, 2); }},
       {"m.g_idx", "into group -1 of 2", [](auto& t) { t["m.g_idx"].template set<std::int32_t>(0, -1); }},
       {"m.g_idx", "into group 2147483647", [](auto& t) { t["m.g_idx"].template set<std::int32_t>(5, INT32_MAX); }},
       {"m.g_idx", "column 7 in another group", [](auto& t) { t["m.g_idx"].template set<std::int32_t>(7, 1); }},
       {"m.qzeros", "zero point 16 or 0", [](auto& t) { t["m.qzeros"].template set<std::uint32_t>(3, 0x0000f000); }},
       {"m.scales", "not finite", [](auto& t) { t["m.scales"].template set<std::uint16_t>(31, 0x7c00); }}});
  StorageRule symmetric = rule;
  symmetric.symmetric = true;
  expect_refusals(
      Int4Fixture(16, 64, 32, true).gptq("m", 1), symmetric,
      {{"m.qzeros", "holds 8 where", [](auto& t) { t["m.qzeros"].template set<std::uint32_t>(2, 0x77787777); }},
       {"m.qzeros", "holds 6 where", [](auto& t) { t["m.qzeros"].template set<std::uint32_t>(0, 0x66666666); }}});
}

TEST(Int4Rows, RefusesSizesThatFillNoBlocks) {
  const FileTensors tensors = Int4Fixture(16, 64, 32, false).awq("m");
  const auto columns = Opened(tensors, {Storage::kAwq, 32, false}, 16, 40).open();
  EXPECT_EQ(columns.status().code(), Code::kUnimplemented) << columns.status().to_string();
  const auto rows = Opened(tensors, {Storage::kAwq, 32, false}, 12, 64).open();
  EXPECT_EQ(rows.status().code(), Code::kUnimplemented) << rows.status().to_string();
}

TEST(Int4Rows, ReportsEveryFailedRead) {
  for (const Scheme& scheme : kSchemes) {
    StorageRule rule = scheme.rule;
    rule.group_cols = 32;
    Opened file(scheme.store(Int4Fixture(32, 64, 32, scheme.symmetric, scheme.lowest_zero), "m"), rule, 32, 64);
    std::vector<std::byte> blocks(static_cast<std::size_t>(16 * dtype_row_bytes(DType::kQ5_0, 64)));
    int failures = 0;
    for (std::uint64_t n = 1;; ++n) {
      file.disk.reads = 0;
      file.disk.fail_read = n;
      auto opened = file.open();
      const Status status = opened.ok() ? opened->read(16, 16, blocks.data()) : opened.status();
      if (file.disk.reads < n) {
        EXPECT_TRUE(status.ok()) << status.to_string();
        break;
      }
      EXPECT_EQ(status.code(), Code::kUnavailable) << scheme.name << " read " << n;
      ++failures;
    }
    EXPECT_GE(failures, 3) << scheme.name;
  }
}

TEST(Int4Rows, LeavesPlainMatricesAlone) {
  const FileTensors tensors = Int4Fixture(16, 64, 32, false).awq("other");
  EXPECT_EQ(Opened(tensors, {Storage::kAwq, 32, false}, 16, 64).open().status().code(), Code::kNotFound);
}

}  // namespace
}  // namespace foregate
