// What single ops mean, by hand-made examples: conversions, packing, routing, exp, causality.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/ref/element.h"
#include "tests/kernels/harness.h"

namespace foregate::testing {
namespace {

class MeaningTest : public ::testing::TestWithParam<std::string> {
 protected:
  Machine machine_{GetParam(), 2};
  const OpTable& ops() const { return machine_.ops(); }
  Stream& stream() { return *machine_.stream; }

  struct Routed {
    std::vector<std::int32_t> ids;
    Floats weights;
  };
  Routed route(const RouterRule& rule, const Floats& logits, const Floats& bias = {}) {
    Routed out{std::vector<std::int32_t>(static_cast<std::size_t>(rule.top_k), -1),
               Floats(static_cast<std::size_t>(rule.top_k))};
    ops().router_topk(stream(), {rule, view(logits, rule.experts), bias.empty() ? nullptr : bias.data(), out.ids.data(),
                                 out.weights.data()});
    return out;
  }
};

TEST(Element, HalvesGoThereAndBack) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float f16 = widen_f16(half);
    const float bf16 = widen_bf16(half);
    ASSERT_TRUE(std::isnan(f16) ? std::isnan(widen_f16(narrow_f16(f16))) : narrow_f16(f16) == half) << bits;
    ASSERT_TRUE(std::isnan(bf16) ? std::isnan(widen_bf16(narrow_bf16(bf16))) : narrow_bf16(bf16) == half) << bits;
  }
  EXPECT_EQ(narrow_f16(65520.0f), 0x7c00);         // rounds to infinity
  EXPECT_EQ(narrow_f16(65519.0f), 0x7bff);         // the largest
  EXPECT_EQ(narrow_f16(1.0f + 0x1p-11f), 0x3c00);  // tie to even
  EXPECT_EQ(narrow_f16(1.0f + 0x3p-11f), 0x3c02);  // tie to even, up
  EXPECT_EQ(narrow_f16(0x1p-25f), 0x0000);         // tie to even, subnormal
  EXPECT_EQ(narrow_f16(0x1.8p-25f), 0x0001);
  EXPECT_EQ(narrow_bf16(1.0f + 0x1p-8f), 0x3f80);
}

// Every table packs to the very bytes of ref, from and to every type.
TEST_P(MeaningTest, PackingEqualsRef) {
  Machine ref("ref", 1);
  Random random(31);
  for (const DType source_type : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (const WeightFormat format : {WeightFormat::kF32, WeightFormat::kF16, WeightFormat::kBF16}) {
      for (const std::int64_t rows : {1, 16, 37}) {
        constexpr std::int64_t kCols = 23;
        std::vector<std::uint32_t> source(static_cast<std::size_t>(rows * kCols));
        for (std::int64_t i = 0; i < rows * kCols; ++i) {
          const float value = random.uniform() * std::ldexp(1.0f, random.between(-30, 15));
          write_element(source.data(), source_type, i, value);
        }
        const std::size_t bytes = static_cast<std::size_t>(packed_bytes(format, rows, kCols));
        std::vector<std::byte> want(bytes, std::byte{7}), got(bytes, std::byte{9});
        PackWeightArgs args{source.data(), source_type, rows, kCols, format, want.data()};
        ref.ops().pack_weight(*ref.stream, args);
        args.packed = got.data();
        ops().pack_weight(stream(), args);
        EXPECT_EQ(std::memcmp(want.data(), got.data(), bytes), 0)
            << dtype_name(source_type) << " to format " << static_cast<int>(format) << ", " << rows << " rows";
      }
    }
  }
}

TEST_P(MeaningTest, RouterTiesGoToTheLowerId) {
  const RouterRule rule{RouterScore::kSoftmax, RouterWeights::kRenormalize, GroupRule::kMax, 6, 3, 1, 1, 0.0f, 1.0f};
  const Routed r = route(rule, {1, 2, 2, 2, 1, 2});
  EXPECT_EQ(r.ids, (std::vector<std::int32_t>{1, 2, 3}));
  for (const float w : r.weights) EXPECT_NEAR(w, 1.0f / 3, 1e-6);
}

TEST_P(MeaningTest, RouterBiasChoosesButDoesNotWeigh) {
  const RouterRule rule{RouterScore::kSigmoid, RouterWeights::kRaw, GroupRule::kMax, 4, 2, 1, 1, 0.0f, 2.0f};
  const Routed r = route(rule, {0, 1, 2, 3}, {5, 0, 0, 0});
  EXPECT_EQ(r.ids, (std::vector<std::int32_t>{0, 3}));
  EXPECT_NEAR(r.weights[0], 2 * 0.5, 1e-6);
  EXPECT_NEAR(r.weights[1], 2 / (1 + std::exp(-3.0)), 1e-6);
}

TEST_P(MeaningTest, RouterGroups) {
  RouterRule rule{RouterScore::kIdentity, RouterWeights::kRaw, GroupRule::kMax, 8, 2, 4, 2, 0.0f, 1.0f};
  const Floats logits = {9, 0, 5, 5, 7, 1, 6, 0};
  EXPECT_EQ(route(rule, logits).ids, (std::vector<std::int32_t>{0, 4}));  // groups 0 and 2 by maximum
  rule.group_rule = GroupRule::kTopTwoSum;
  EXPECT_EQ(route(rule, logits).ids, (std::vector<std::int32_t>{0, 2}));  // groups 1 (10) and 0 (9)
}

TEST_P(MeaningTest, RouterSoftmaxOfSelected) {
  const RouterRule rule{
      RouterScore::kIdentity, RouterWeights::kSoftmaxOfSelected, GroupRule::kMax, 3, 2, 1, 1, 0.0f, 1.0f};
  const Routed r = route(rule, {1, 3, 2});
  EXPECT_EQ(r.ids, (std::vector<std::int32_t>{1, 2}));
  EXPECT_NEAR(r.weights[0], 1 / (1 + std::exp(-1.0)), 1e-6);
}

// Ranked by logits: sigmoids of large ones are all one.
TEST_P(MeaningTest, RouterSigmoidOfSelected) {
  const RouterRule rule{
      RouterScore::kIdentity, RouterWeights::kSigmoidOfSelected, GroupRule::kMax, 4, 2, 1, 1, 0.0f, 1.0f};
  EXPECT_EQ(route(rule, {30, 31, 0, 32}).ids, (std::vector<std::int32_t>{3, 1}));
  const Routed r = route(rule, {-2, -9, -9, 0});
  EXPECT_EQ(r.ids, (std::vector<std::int32_t>{3, 0}));
  const double low = 1 / (1 + std::exp(2.0));
  EXPECT_NEAR(r.weights[0], 0.5 / (0.5 + low), 1e-6);
  EXPECT_NEAR(r.weights[1], low / (0.5 + low), 1e-6);
}

// Whatever the logits, ids are valid and distinct: they index memory.
TEST_P(MeaningTest, RouterIdsAreValidForNanAndInfinity) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  for (const std::int32_t groups : {1, 4}) {
    for (const RouterScore score : {RouterScore::kSoftmax, RouterScore::kSigmoid, RouterScore::kSqrtSoftplus}) {
      const RouterRule rule{score, RouterWeights::kRenormalize, GroupRule::kTopTwoSum, 16, 4, groups, 2, 0.0f, 1.0f};
      for (const float bad : {nan, inf, -inf}) {
        for (const int count : {1, 15, 16}) {
          Floats logits(16, 0.5f);
          std::fill_n(logits.begin(), count, bad);
          std::vector<std::int32_t> ids = route(rule, logits).ids;
          std::sort(ids.begin(), ids.end());
          EXPECT_EQ(std::unique(ids.begin(), ids.end()), ids.end());
          EXPECT_GE(ids.front(), 0);
          EXPECT_LT(ids.back(), 16);
        }
      }
    }
  }
}

// exp through the gated add: sigmoid over the whole range, against double.
TEST_P(MeaningTest, SigmoidOverTheWholeRange) {
  Floats gates;
  for (float x = -110.0f; x <= 110.0f; x += 0.0137f) gates.push_back(x);
  gates.insert(gates.end(), {-std::numeric_limits<float>::infinity(), std::numeric_limits<float>::infinity(), -0.0f});
  const Floats ones(gates.size(), 1.0f);
  const Floats& x = gates;
  Floats out(gates.size(), 0.0f);
  ops().sigmoid_gate_add(stream(), {view(x, 1), view(ones, 1), view(out, 1)});
  for (std::size_t i = 0; i < gates.size(); ++i) {
    const double want = 1 / (1 + std::exp(-static_cast<double>(gates[i])));
    ASSERT_LE(std::fabs(out[i] - want), 4e-7 * want + 1e-38) << gates[i];
  }
  const Floats bad(1, std::numeric_limits<float>::quiet_NaN());
  const Floats one(1, 1.0f);
  Floats one_out(1, 0.0f);
  ops().sigmoid_gate_add(stream(), {view(bad, 1), view(one, 1), view(one_out, 1)});
  EXPECT_TRUE(std::isnan(one_out[0]));
}

// Rows that fill a group of keys are stored together, others one by one: the very bytes of ref either way.
TEST_P(MeaningTest, KvWriteFillsThePagesOfRef) {
  Machine ref("ref", 1);
  Random random(33);
  constexpr std::int32_t kHeads = 2, kDim = 24, kPositions = 160;
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16, DType::kI8}) {
    for (const std::int32_t block_size : {1, 5, 16, 24, 32}) {
      for (const std::int32_t first : {0, 3, 16}) {
        constexpr std::int32_t kRows = 50, kWidth = kHeads * kDim;
        const Floats k = random.floats(kRows * kWidth), v = random.floats(kRows * kWidth);
        std::vector<std::int64_t> slots;
        for (std::int32_t i = 0; i < kRows; ++i) slots.push_back(first + i + (i < 20 ? 64 : 0));
        const std::int32_t blocks = (kPositions + block_size - 1) / block_size;
        const std::size_t bytes = static_cast<std::size_t>(blocks * block_size * kWidth * dtype_bytes(type));
        const auto scales = static_cast<std::size_t>(blocks * block_size * kHeads);
        const auto written = [&](const OpTable& table, Stream& on) {
          std::vector<std::byte> pages(2 * bytes, std::byte{7});
          Floats of_rows(2 * scales, 7.0f);
          table.kv_write(on, {view(k, kWidth),
                              view(v, kWidth),
                              slots.data(),
                              {pages.data(), pages.data() + bytes, type, blocks, block_size, kHeads, kDim,
                               of_rows.data(), of_rows.data() + scales}});
          return std::pair(pages, of_rows);
        };
        EXPECT_TRUE(written(ops(), stream()) == written(ref.ops(), *ref.stream))
            << dtype_name(type) << ", blocks of " << block_size << ", from " << first;
      }
    }
  }
}

// int8 rows: within half a code of what was stored, whatever the magnitude; what is not finite makes the scale NaN.
TEST_P(MeaningTest, RowsInInt8AreWithinHalfACode) {
  Random random(34);
  constexpr std::int32_t kDim = 40, kRows = 9, kBlock = 16;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  Floats k, v;
  for (const float size : {1.0f, 1e-30f, 1e30f, 0.0f, 300.0f, 1e-45f, 1.0f, 1.0f, 1.0f}) {
    for (Floats* to : {&k, &v}) {
      const Floats row = random.floats(kDim, size);
      to->insert(to->end(), row.begin(), row.end());
    }
  }
  k[6 * kDim + 3] = nan;
  k[7 * kDim + 39] = -inf;
  v[8 * kDim] = inf;
  std::vector<std::int8_t> codes(2 * kBlock * kDim);
  Floats scales(2 * kBlock, 5.0f);
  const std::vector<std::int64_t> slots = {0, 1, 2, 3, 4, 5, 6, 7, 8};
  const KvPages pages{codes.data(),  codes.data() + kBlock * kDim, DType::kI8, 1, kBlock, 1, kDim,
                      scales.data(), scales.data() + kBlock};
  ops().kv_write(stream(), {view(std::as_const(k), kDim), view(std::as_const(v), kDim), slots.data(), pages});
  for (std::int32_t p = 0; p < kRows; ++p) {
    const auto at = static_cast<std::size_t>(p);
    EXPECT_EQ(std::isnan(pages.k_scales[p]), p == 6 || p == 7) << p;
    EXPECT_EQ(std::isnan(pages.v_scales[p]), p == 8) << p;
    for (std::int32_t d = 0; d < kDim; ++d) {
      const double key = codes[static_cast<std::size_t>(key_index(pages, 0, 0, p) + d * key_step(pages, p))];
      const double value = codes[static_cast<std::size_t>(kBlock * kDim + value_index(pages, 0, 0, p) + d)];
      const auto element = at * kDim + static_cast<std::size_t>(d);
      const auto close = [](double code, float scale, float want) {
        return std::isnan(scale) ? code == 0 : std::fabs(code * scale - want) <= 0.5001 * scale + 1e-42;
      };
      EXPECT_TRUE(close(key, pages.k_scales[p], k[element])) << p << " " << d;
      EXPECT_TRUE(close(value, pages.v_scales[p], v[element])) << p << " " << d;
    }
  }
}

TEST_P(MeaningTest, AttentionInInt8IsCloseToF16) {
  for (const std::int32_t dim : {64, 128}) {
    for (const std::int32_t context : {1, 50, 700}) {
      PagedSetup setup{8, 2, dim, 16, 0, DType::kF16, 77};
      const Floats want = attend(ops(), stream(), setup, {{0, context, 20}});
      setup.type = DType::kI8;
      expect_close(attend(ops(), stream(), setup, {{0, context, 20}}), want, 8 * dim, 2e-2, "int8");
    }
  }
}

TEST_P(MeaningTest, AttentionOfOnePositionIsItsValue) {
  const PagedSetup setup{2, 1, 24, 4, 0, DType::kF32, 9};
  const Floats first = attend(ops(), stream(), setup, {{0, 0, 1}});
  const Floats longer = attend(ops(), stream(), setup, {{0, 0, 40}});
  expect_same_bits(rows_of(longer, 48, 0, 1), first, "position 0 sees itself only");
  expect_same_bits(rows_of(first, 24, 0, 1), rows_of(first, 24, 1, 1), "both heads share the kv head");
}

// Random shapes; a failure prints the seed that made it.
TEST_P(MeaningTest, RandomShapesAgreeWithRef) {
  Machine ref("ref", 1);
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Random random(seed);
    const std::int64_t n = random.between(1, 90), k = random.between(1, 300), t = random.between(1, 40);
    const auto format = random.pick<WeightFormat>({WeightFormat::kF32, WeightFormat::kF16, WeightFormat::kBF16});
    const Packed weight = random_packed(random, n, k, format);
    const Floats x = random.floats(t * k);
    Floats want(static_cast<std::size_t>(t * n)), got(want.size());
    ref.ops().linear(*ref.stream, {weight.weight(), nullptr, view(x, k), view(want, n), false});
    ops().linear(stream(), {weight.weight(), nullptr, view(x, k), view(got, n), false});
    expect_close(got, want, n, LinearArgs::tolerance, "linear");

    PagedSetup setup;
    setup.kv_heads = random.between(1, 3);
    setup.heads = setup.kv_heads * random.between(1, 5);
    setup.head_dim = random.between(1, 70);
    setup.block_size = random.between(1, 33);
    setup.window = random.below(3) == 0 ? random.between(1, 100) : 0;
    setup.type = random.pick<DType>({DType::kF32, DType::kF16, DType::kBF16, DType::kI8});
    setup.seed = seed;
    std::vector<SpanSpec> spans;
    for (std::int32_t s = random.between(1, 4); s > 0; --s) {
      spans.push_back({s, random.between(0, 200), random.between(1, 30)});
    }
    expect_close(attend(ops(), stream(), setup, spans), attend(ref.ops(), *ref.stream, setup, spans),
                 setup.heads * setup.head_dim, AttentionArgs::tolerance, "attention");
    if (HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Isa, MeaningTest, ::testing::ValuesIn(runnable_isas()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace foregate::testing
