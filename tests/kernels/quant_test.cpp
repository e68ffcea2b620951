// Quantized formats: what blocks mean, that packing moves them unchanged, how far int8 activations may lead away from
// exact products, and that a row's bits do not depend on its company.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>

#include "kernels/api/blocks.h"
#include "kernels/api/quantize.h"
#include "kernels/ref/ref_pack.h"
#include "tests/kernels/harness.h"

namespace foregate::testing {
namespace {

// In the order of tests/golden/make_block_fixture.py.
const std::vector<WeightFormat> kQuantized = {WeightFormat::kQ8_0, WeightFormat::kQ4_0, WeightFormat::kQ4_1,
                                              WeightFormat::kQ5_0, WeightFormat::kQ4_K, WeightFormat::kQ5_K,
                                              WeightFormat::kQ6_K, WeightFormat::kMxfp4};

TEST(Blocks, DequantizeAsTheReferenceDoes) {
  constexpr int kBlocks = 24;
  std::ifstream in(FOREGATE_SOURCE_DIR "/tests/golden/blocks/blocks.bin", std::ios::binary);
  const std::vector<char> file{std::istreambuf_iterator<char>(in), {}};
  std::size_t at = 0;
  for (const WeightFormat format : kQuantized) {
    const DType type = format_dtype(format);
    const std::int64_t cols = kBlocks * dtype_block(type).elements;
    const std::size_t bytes = static_cast<std::size_t>(dtype_row_bytes(type, cols));
    ASSERT_LE(at + bytes + static_cast<std::size_t>(cols) * 4, file.size());
    Floats got(static_cast<std::size_t>(cols)), want(got.size());
    dequantize_row(type, reinterpret_cast<const std::byte*>(file.data() + at), cols, got.data());
    std::memcpy(want.data(), file.data() + at + bytes, want.size() * 4);
    at += bytes + want.size() * 4;
    // The reference multiplies in the same order; its sums may round once differently.
    for (std::size_t i = 0; i < want.size(); ++i) {
      EXPECT_NEAR(got[i], want[i], std::fabs(want[i]) * 1e-6 + 1e-7) << dtype_name(type) << " " << i;
    }
  }
  EXPECT_EQ(at, file.size());
}

// Random bytes reach every code and scale; packing must not lose a bit of any.
TEST(Blocks, PackingKeepsEveryValue) {
  Random random(41);
  for (const WeightFormat format : kQuantized) {
    const DType type = format_dtype(format);
    for (const int count : {1, 5, 16}) {
      constexpr std::int64_t kCols = 1024;
      const std::int64_t row_bytes = dtype_row_bytes(type, kCols);
      std::vector<std::byte> rows(static_cast<std::size_t>(row_bytes * count));
      for (std::byte& b : rows) b = static_cast<std::byte>(random.below(256));
      std::vector<std::byte> packed(static_cast<std::size_t>(packed_bytes(format, count, kCols)), std::byte{0x5a});
      pack_block(format, rows.data(), count, kCols, packed.data());
      const PackedWeight weight{packed.data(), format, kRowInterleave, kCols};
      for (int r = 0; r < kRowInterleave; ++r) {
        Floats want(kCols), got(kCols);
        if (r < count) dequantize_row(type, rows.data() + r * row_bytes, kCols, want.data());
        unpack_row(weight, r, got.data());
        for (std::size_t c = 0; c < want.size(); ++c) {
          const bool same = std::isnan(want[c]) ? std::isnan(got[c]) : want[c] == got[c];
          // A zero row of mxfp4 has code 0, so its values are 0 whatever the exponent.
          ASSERT_TRUE(same) << format_name(format) << " row " << r << " column " << c << ": " << got[c] << " for "
                            << want[c];
        }
      }
    }
  }
}

// The packer moves words; the reference moves codes. Every code, scale and number of rows.
TEST(Blocks, PackingEqualsTheReference) {
  Random random(48);
  for (const WeightFormat format : kQuantized) {
    const DType type = format_dtype(format);
    const std::int64_t cols = 3 * format_unit(format).cols;
    const std::int64_t row_bytes = dtype_row_bytes(type, cols);
    for (int count = 0; count <= kRowInterleave; ++count) {
      std::vector<std::byte> rows(static_cast<std::size_t>(row_bytes * count));
      for (std::byte& b : rows) b = static_cast<std::byte>(random.below(256));
      const auto bytes = static_cast<std::size_t>(packed_bytes(format, kRowInterleave, cols));
      std::vector<std::byte> want(bytes, std::byte{0x5a}), got(bytes, std::byte{0xa5});
      ref::pack_block(format, rows.data(), count, cols, want.data());
      pack_block(format, rows.data(), count, cols, got.data());
      ASSERT_TRUE(want == got) << format_name(format) << " " << count << " rows";
    }
  }
}

// The largest error of a value, in steps of its block's finest scale.
TEST(Blocks, QuantizingIsCloseToTheSource) {
  struct Bound {
    WeightFormat format;
    double rms;  // of the error over the rms of the values, for uniform values
  };
  const std::vector<Bound> bounds = {{WeightFormat::kQ8_0, 0.004}, {WeightFormat::kQ4_0, 0.075},
                                     {WeightFormat::kQ4_1, 0.07},  {WeightFormat::kQ5_0, 0.038},
                                     {WeightFormat::kQ4_K, 0.07},  {WeightFormat::kQ5_K, 0.036},
                                     {WeightFormat::kQ6_K, 0.02},  {WeightFormat::kMxfp4, 0.16}};
  Random random(42);
  const Floats x = random.floats(64 * 256, 0.3f);
  for (const Bound& bound : bounds) {
    const DType type = format_dtype(bound.format);
    std::vector<std::byte> row(static_cast<std::size_t>(dtype_row_bytes(type, 64 * 256)));
    quantize_row(type, x.data(), 64 * 256, row.data());
    Floats back(x.size());
    dequantize_row(type, row.data(), 64 * 256, back.data());
    double error = 0, power = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      error += (back[i] - x[i]) * static_cast<double>(back[i] - x[i]);
      power += x[i] * static_cast<double>(x[i]);
    }
    EXPECT_LT(std::sqrt(error / power), bound.rms) << format_name(bound.format);
    EXPECT_GT(std::sqrt(error / power), bound.rms / 4) << format_name(bound.format) << ": a loose bound";
  }
}

TEST(Blocks, QuantizingKeepsZerosTinyAndNotFiniteValues) {
  for (const WeightFormat format : kQuantized) {
    const DType type = format_dtype(format);
    std::vector<std::byte> row(static_cast<std::size_t>(dtype_row_bytes(type, 256)));
    Floats x(256), back(256);
    quantize_row(type, x.data(), 256, row.data());
    dequantize_row(type, row.data(), 256, back.data());
    for (const float v : back) EXPECT_EQ(v, 0.0f) << format_name(format);
    x.assign(256, 1e-30f);
    quantize_row(type, x.data(), 256, row.data());
    dequantize_row(type, row.data(), 256, back.data());
    for (const float v : back) EXPECT_LT(std::fabs(v), 1e-6f) << format_name(format);
    x[77] = NAN;
    quantize_row(type, x.data(), 256, row.data());
    dequantize_row(type, row.data(), 256, back.data());
    EXPECT_EQ(std::isnan(back[77]), format != WeightFormat::kMxfp4) << format_name(format);
  }
}

class QuantTest : public ::testing::TestWithParam<std::string> {
 protected:
  Machine cpu_{GetParam(), 2};

  Floats linear(const Packed& w, const Floats& x) {
    Floats y(x.size() / static_cast<std::size_t>(w.cols) * static_cast<std::size_t>(w.rows));
    cpu_.ops().linear(*cpu_.stream, {w.weight(), nullptr, view(x, w.cols), view(y, w.rows), false});
    return y;
  }
};

// quant.h: |y - exact| <= sum over k of |w[k]| * amax[group of k] / 254, and f32 rounding.
TEST_P(QuantTest, ProductsStayWithinTheStatedBound) {
  Random random(43);
  constexpr std::int64_t kN = 40, kK = 512, kRows = 9;
  for (const WeightFormat format : kQuantized) {
    const Packed weight = random_packed(random, kN, kK, format);
    Floats x = random.floats(kRows * kK);
    for (std::int64_t i = 0; i < kK; i += 37) x[static_cast<std::size_t>(i)] *= 20;  // outliers
    const Floats y = linear(weight, x);
    double worst = 0;
    for (std::int64_t n = 0; n < kN; ++n) {
      Floats w(kK);
      unpack_row(weight.weight(), n, w.data());
      for (std::int64_t t = 0; t < kRows; ++t) {
        double exact = 0, bound = 0, size = 0;
        for (std::int64_t g = 0; g < kK; g += kQuantGroup) {
          double amax = 0, weights = 0;
          for (std::int64_t k = g; k < g + kQuantGroup; ++k) {
            const double value = x[static_cast<std::size_t>(t * kK + k)];
            exact += w[static_cast<std::size_t>(k)] * value;
            size += std::fabs(w[static_cast<std::size_t>(k)] * value);
            amax = std::max(amax, std::fabs(value));
            weights += std::fabs(w[static_cast<std::size_t>(k)]);
          }
          bound += weights * amax / 254;
        }
        const double off = std::fabs(y[static_cast<std::size_t>(t * kN + n)] - exact);
        EXPECT_LE(off, bound + 1e-5 * size) << format_name(format);
        worst = std::max(worst, off / bound);
      }
    }
    EXPECT_GT(worst, 0.02) << format_name(format) << ": activations are not rounded, or the bound is loose";
  }
}

TEST_P(QuantTest, RowAloneEqualsRowInAnyBatch) {
  Random random(44);
  for (const WeightFormat format : kQuantized) {
    constexpr std::int64_t kN = 75, kK = 512, kRows = 54;
    const Packed weight = random_packed(random, kN, kK, format);
    const Floats x = random.floats(kRows * kK);
    Floats alone;
    for (std::int64_t t = 0; t < kRows; ++t) {
      const Floats y = linear(weight, rows_of(x, kK, t, 1));
      alone.insert(alone.end(), y.begin(), y.end());
    }
    for (std::int64_t batch = 2; batch <= kRows; batch = batch < 34 ? batch + 1 : batch + 5) {
      expect_same_bits(linear(weight, rows_of(x, kK, kRows - batch, batch)), rows_of(alone, kN, kRows - batch, batch),
                       std::string(format_name(format)) + " batch of " + std::to_string(batch));
    }
  }
}

// The fused op rounds at the same places as three linear calls; ReLU is exact.
TEST_P(QuantTest, ExpertFfnWithReluEqualsLinearCalls) {
  Random random(45);
  for (const WeightFormat format : kQuantized) {
    constexpr std::int64_t kHidden = 512, kInner = 256, kRows = 23;
    const Packed gate = random_packed(random, kInner, kHidden, format);
    const Packed up = random_packed(random, kInner, kHidden, format);
    const Packed down = random_packed(random, kHidden, kInner, format);
    const Floats x = random.floats(kRows * kHidden);
    Floats h = linear(gate, x);
    const Floats u = linear(up, x);
    for (std::size_t i = 0; i < h.size(); ++i) h[i] = (h[i] > 0 ? h[i] : 0.0f) * u[i];
    const Floats want = linear(down, h);
    // Row 0 alone, the others together: the same bits as all at once.
    std::vector<std::int32_t> rows(kRows);
    for (std::int32_t r = 0; r < kRows; ++r) rows[static_cast<std::size_t>(r)] = r;
    const ExpertWeights expert{gate.weight(), up.weight(), down.weight()};
    const ExpertGroup groups[] = {{expert, rows.data(), rows.data(), 1},
                                  {expert, rows.data() + 1, rows.data() + 1, kRows - 1}};
    Floats y(x.size()), scratch(static_cast<std::size_t>(kRows * kInner));
    cpu_.ops().expert_ffn(*cpu_.stream,
                          {view(x, kHidden), view(y, kHidden), groups, 2, Activation::kRelu, scratch.data()});
    expect_same_bits(y, want, format_name(format));
  }
}

TEST_P(QuantTest, ValuesThatAreNotFiniteSpoilTheirRowOnly) {
  Random random(46);
  for (const WeightFormat format : kQuantized) {
    const Packed weight = random_packed(random, 20, 256, format);
    Floats x = random.floats(3 * 256);
    const Floats clean = linear(weight, x);
    for (const float bad : {NAN, INFINITY, -INFINITY}) {
      x[256 + 100] = bad;
      const Floats y = linear(weight, x);
      for (int n = 0; n < 20; ++n) EXPECT_TRUE(std::isnan(y[static_cast<std::size_t>(20 + n)])) << format_name(format);
      expect_same_bits(rows_of(y, 20, 0, 1), rows_of(clean, 20, 0, 1), "row before");
      expect_same_bits(rows_of(y, 20, 2, 1), rows_of(clean, 20, 2, 1), "row after");
    }
  }
}

TEST_P(QuantTest, PackingEqualsRefFromEverySource) {
  Machine ref("ref", 1);
  Random random(47);
  for (const WeightFormat format : kQuantized) {
    constexpr std::int64_t kRows = 21, kCols = 512;
    const Floats values = random.floats(kRows * kCols);
    std::vector<std::byte> blocks(static_cast<std::size_t>(dtype_row_bytes(format_dtype(format), kCols) * kRows));
    for (std::int64_t r = 0; r < kRows; ++r) {
      quantize_row(format_dtype(format), values.data() + r * kCols, kCols,
                   blocks.data() + r * dtype_row_bytes(format_dtype(format), kCols));
    }
    std::vector<std::uint16_t> halves;
    for (const float v : values) halves.push_back(narrow_bf16(v));
    const std::size_t bytes = static_cast<std::size_t>(packed_bytes(format, kRows, kCols));
    const auto both = [&](const void* source, DType type) {
      std::vector<std::byte> want(bytes, std::byte{7}), got(bytes, std::byte{9});
      ref.ops().pack_weight(*ref.stream, {source, type, kRows, kCols, format, want.data()});
      cpu_.ops().pack_weight(*cpu_.stream, {source, type, kRows, kCols, format, got.data()});
      EXPECT_TRUE(want == got) << format_name(format) << " from " << dtype_name(type);
      return got;
    };
    EXPECT_TRUE(both(values.data(), DType::kF32) == both(blocks.data(), format_dtype(format))) << format_name(format);
    both(halves.data(), DType::kBF16);
  }
}

// Rows as lanes and row after row choose the same scales: values of every size, flat groups, signs, ties, NaN.
TEST_P(QuantTest, QuantizingManyRowsEqualsQuantizingEach) {
  Random random(48);
  constexpr std::int64_t kRows = 53, kCols = 512;  // three whole blocks, and five rows
  for (const float size : {1.0f, 1e-3f, 1e-8f, 1e-30f, 1e-41f, 6e4f, 1e9f, 1e30f, 3e38f}) {
    Floats values = random.floats(kRows * kCols, size);
    const auto group = [&](int row, int number) { return values.begin() + row * kCols + number * kQuantGroup; };
    std::fill_n(group(1, 0), 32, 0.0f);
    std::fill_n(group(2, 1), 32, -size);
    std::fill_n(group(3, 2), 64, size);
    for (int i = 0; i < 32; ++i) group(4, 3)[i] = size * static_cast<float>(i - 16) / 16.0f;  // -most and halves
    for (int i = 0; i < 32; ++i) group(5, 4)[i] = -0.0f;
    for (int i = 0; i < 32; ++i) group(6, 5)[i] = i % 2 == 0 ? size : -size;
    for (int i = 0; i < 256; ++i) values[7 * kCols + i] = std::fabs(values[7 * kCols + i]);
    for (int i = 0; i < 256; ++i) values[8 * kCols + i] *= i < 128 ? 1e-6f : 1.0f;
    values[20 * kCols + 300] = size < 1 ? NAN : INFINITY;
    for (const WeightFormat format : kQuantized) {
      std::vector<std::byte> rows(static_cast<std::size_t>(dtype_row_bytes(format_dtype(format), kCols) * kRows));
      for (std::int64_t r = 0; r < kRows; ++r) {
        quantize_row(format_dtype(format), values.data() + r * kCols, kCols,
                     rows.data() + r * dtype_row_bytes(format_dtype(format), kCols));
      }
      const auto bytes = static_cast<std::size_t>(packed_bytes(format, kRows, kCols));
      std::vector<std::byte> want(bytes, std::byte{7}), got(bytes, std::byte{9});
      const auto pack = [&](const void* source, DType type, std::byte* to) {
        cpu_.ops().pack_weight(*cpu_.stream, {source, type, kRows, kCols, format, to});
      };
      pack(rows.data(), format_dtype(format), want.data());
      pack(values.data(), DType::kF32, got.data());
      EXPECT_TRUE(want == got) << format_name(format) << ", values to " << size;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Isa, QuantTest, ::testing::ValuesIn(cpu_isas()), [](const auto& info) { return info.param; });

}  // namespace
}  // namespace foregate::testing
