// fp8: what each of the 256 bytes means and in every table, that packing moves them unchanged, and what rounding costs.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "kernels/api/blocks.h"
#include "kernels/api/quantize.h"
#include "kernels/ref/ref_pack.h"
#include "tests/kernels/harness.h"

namespace foregate::testing {
namespace {

constexpr int kBlock = 128;
constexpr int kBlockBytes = 132;

bool is_nan_byte(int byte) {
  return (byte & 0x7f) == 0x7f;
}

// The table of OCP 8-bit Floating Point, written down by its definition.
double meaning(int byte) {
  const int exponent = byte >> 3 & 15;
  const double mantissa = (byte & 7) / 8.0;
  const double magnitude = exponent == 0 ? std::ldexp(mantissa, -6) : std::ldexp(1.0 + mantissa, exponent - 7);
  return byte < 128 ? magnitude : -magnitude;
}

TEST(Fp8, EveryByteHasItsValue) {
  for (int byte = 0; byte < 256; ++byte) {
    const float value = widen_f8(static_cast<std::uint8_t>(byte));
    if (is_nan_byte(byte)) {
      EXPECT_TRUE(std::isnan(value)) << byte;
    } else {
      EXPECT_EQ(value, meaning(byte)) << byte;
      EXPECT_EQ(std::signbit(value), byte >= 128) << byte;
      EXPECT_EQ(narrow_f8(value), byte);
    }
  }
  EXPECT_EQ(widen_f8(0x7e), 448.0f);
}

TEST(Fp8, NarrowingTakesTheNearestAndOfTwoTheEven) {
  for (int byte = 0; byte < 0x7e; ++byte) {
    const double low = meaning(byte), high = meaning(byte + 1);
    const auto middle = static_cast<float>((low + high) / 2);
    EXPECT_EQ(narrow_f8(middle), byte % 2 == 0 ? byte : byte + 1) << byte;
    EXPECT_EQ(narrow_f8(std::nextafter(middle, 0.0f)), byte);
    EXPECT_EQ(narrow_f8(std::nextafter(middle, 1e3f)), byte + 1);
    EXPECT_EQ(narrow_f8(-std::nextafter(middle, 1e3f)), (byte + 1) | 0x80);
  }
  EXPECT_EQ(narrow_f8(1e9f), 0x7e);
  EXPECT_EQ(narrow_f8(-INFINITY), 0xfe);
  EXPECT_EQ(narrow_f8(NAN) & 0x7f, 0x7f);
  EXPECT_EQ(narrow_f8(1e-30f), 0);
}

// Rows of blocks with every byte that is a number, and scales of every size.
std::vector<std::byte> all_bytes(int rows, std::int64_t cols) {
  std::vector<std::byte> blocks(static_cast<std::size_t>(rows * cols / kBlock * kBlockBytes));
  int byte = 0;
  std::size_t at = 0;
  for (std::int64_t b = 0; b < rows * cols / kBlock; ++b) {
    const float scale = std::ldexp(1.1f, static_cast<int>(b * 37 % 200) - 110) * (b % 3 == 0 ? -1.0f : 1.0f);
    std::memcpy(blocks.data() + at, &scale, 4);
    for (int j = 0; j < kBlock; ++j, ++byte) {
      while (is_nan_byte(byte & 255)) ++byte;
      blocks[at + 4 + static_cast<std::size_t>(j)] = static_cast<std::byte>(byte & 255);
    }
    at += kBlockBytes;
  }
  return blocks;
}

TEST(Fp8, PackingMovesBytesAndScales) {
  for (const int count : {0, 1, 7, 16}) {
    constexpr std::int64_t kCols = 3 * kBlock;
    const std::vector<std::byte> rows = all_bytes(16, kCols);
    const auto bytes = static_cast<std::size_t>(packed_bytes(WeightFormat::kFp8, kRowInterleave, kCols));
    std::vector<std::byte> want(bytes, std::byte{7}), got(bytes, std::byte{9});
    ref::pack_block(WeightFormat::kFp8, rows.data(), count, kCols, want.data());
    pack_block(WeightFormat::kFp8, rows.data(), count, kCols, got.data());
    EXPECT_TRUE(want == got) << count;
    for (int r = 0; r < 16; ++r) {
      Floats unpacked(kCols), expected(kCols);
      unpack_row({got.data(), WeightFormat::kFp8, 16, kCols}, r, unpacked.data());
      if (r < count) dequantize_row(DType::kFp8, rows.data() + r * 3 * kBlockBytes, kCols, expected.data());
      expect_same_bits(unpacked, expected, "row " + std::to_string(r));
    }
  }
}

TEST(Fp8, QuantizingRoundsByAtMostHalfAStepAndShowsWhatIsNotFinite) {
  Random random(51);
  Floats x = random.floats(8 * kBlock, 0.02f);
  std::vector<std::byte> row(8 * kBlockBytes);
  quantize_row(DType::kFp8, x.data(), 8 * kBlock, row.data());
  Floats back(x.size());
  dequantize_row(DType::kFp8, row.data(), 8 * kBlock, back.data());
  for (std::size_t i = 0; i < x.size(); ++i) {
    const float least = 0.02f / 448.0f * 0x1p-10f;  // half a step of the smallest values, under the largest scale
    EXPECT_LE(std::fabs(back[i] - x[i]), std::max(std::fabs(x[i]) * 0x1.001p-4f, least)) << x[i];
  }
  x[3 * kBlock + 5] = NAN;
  x[5 * kBlock] = INFINITY;
  quantize_row(DType::kFp8, x.data(), 8 * kBlock, row.data());
  dequantize_row(DType::kFp8, row.data(), 8 * kBlock, back.data());
  for (std::size_t i = 0; i < x.size(); ++i) EXPECT_EQ(std::isnan(back[i]), i / kBlock == 3 || i / kBlock == 5) << i;
}

class Fp8Test : public ::testing::TestWithParam<std::string> {
 protected:
  Machine cpu_{GetParam(), 2};
};

// Products with the columns of the identity give the weights themselves, whatever the number of rows.
TEST_P(Fp8Test, EveryByteIsWidenedExactly) {
  constexpr std::int64_t kRows = 20, kCols = 256;
  const std::vector<std::byte> rows = all_bytes(kRows, kCols);
  std::vector<std::byte> packed(static_cast<std::size_t>(packed_bytes(WeightFormat::kFp8, kRows, kCols)));
  cpu_.ops().pack_weight(*cpu_.stream, {rows.data(), DType::kFp8, kRows, kCols, WeightFormat::kFp8, packed.data()});
  const PackedWeight weight{packed.data(), WeightFormat::kFp8, kRows, kCols};
  Floats want(kRows * kCols), identity(kCols * kCols);
  for (std::int64_t r = 0; r < kRows; ++r) unpack_row(weight, r, want.data() + r * kCols);
  for (std::int64_t c = 0; c < kCols; ++c) identity[static_cast<std::size_t>(c * kCols + c)] = 1.0f;
  for (const std::int64_t batch : {std::int64_t{1}, std::int64_t{5}, std::int64_t{16}, kCols}) {
    for (std::int64_t first = 0; first + batch <= kCols; first += batch) {
      const Floats x = rows_of(identity, kCols, first, batch);
      Floats y(static_cast<std::size_t>(batch * kRows));
      cpu_.ops().linear(*cpu_.stream, {weight, nullptr, view(x, kCols), view(y, kRows), false});
      for (std::int64_t t = 0; t < batch; ++t) {
        for (std::int64_t r = 0; r < kRows; ++r) {
          ASSERT_EQ(y[static_cast<std::size_t>(t * kRows + r)], want[static_cast<std::size_t>(r * kCols + first + t)])
              << "row " << r << " column " << first + t << " batch " << batch;
        }
      }
    }
  }
}

TEST_P(Fp8Test, PackingEqualsRefFromEverySource) {
  Machine ref("ref", 1);
  Random random(52);
  constexpr std::int64_t kRows = 37, kCols = 384;
  const Floats values = random.floats(kRows * kCols);
  std::vector<std::uint16_t> halves;
  for (const float v : values) halves.push_back(narrow_bf16(v));
  const std::vector<std::byte> blocks = all_bytes(kRows, kCols);
  const auto bytes = static_cast<std::size_t>(packed_bytes(WeightFormat::kFp8, kRows, kCols));
  const auto both = [&](const void* source, DType type) {
    std::vector<std::byte> want(bytes, std::byte{7}), got(bytes, std::byte{9});
    ref.ops().pack_weight(*ref.stream, {source, type, kRows, kCols, WeightFormat::kFp8, want.data()});
    cpu_.ops().pack_weight(*cpu_.stream, {source, type, kRows, kCols, WeightFormat::kFp8, got.data()});
    EXPECT_TRUE(want == got) << dtype_name(type);
  };
  both(values.data(), DType::kF32);
  both(halves.data(), DType::kBF16);
  both(blocks.data(), DType::kFp8);
}

INSTANTIATE_TEST_SUITE_P(Isa, Fp8Test, ::testing::ValuesIn(cpu_isas()), [](const auto& info) { return info.param; });

}  // namespace
}  // namespace foregate::testing
