// The promise: an output row's bits depend on that row alone. Each test changes something that must
// not matter and compares bits; the last ones show that the comparison can fail.
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "tests/kernels/harness.h"

namespace foregate::testing {
namespace {

const std::vector<WeightFormat> kFormats = {WeightFormat::kF32, WeightFormat::kF16, WeightFormat::kBF16,
                                            WeightFormat::kFp8};

class BitwiseTest : public ::testing::TestWithParam<std::string> {
 protected:
  Machine cpu_{GetParam(), 2};
  const OpTable& ops() const { return cpu_.ops(); }
  Stream& stream() { return *cpu_.stream; }

  Floats linear(const Packed& w, const Floats& x) {
    Floats y(x.size() / static_cast<std::size_t>(w.cols) * static_cast<std::size_t>(w.rows));
    ops().linear(stream(), {w.weight(), nullptr, view(x, w.cols), view(y, w.rows), false});
    return y;
  }
};

TEST_P(BitwiseTest, LinearRowAloneEqualsRowInAnyBatch) {
  Random random(11);
  for (const WeightFormat format : kFormats) {
    constexpr std::int64_t kN = 75, kRows = 70;
    const std::int64_t kK = has_blocks(format) ? 384 : 333;
    const Packed weight = random_packed(random, kN, kK, format);
    const Floats x = random.floats(kRows * kK);
    Floats alone;
    for (std::int64_t t = 0; t < kRows; ++t) {
      const Floats y = linear(weight, rows_of(x, kK, t, 1));
      alone.insert(alone.end(), y.begin(), y.end());
    }
    for (std::int64_t batch = 2; batch <= kRows; batch = batch < 34 ? batch + 1 : batch + 9) {
      for (const std::int64_t first : {std::int64_t{0}, kRows - batch}) {
        expect_same_bits(linear(weight, rows_of(x, kK, first, batch)), rows_of(alone, kN, first, batch),
                         "batch of " + std::to_string(batch) + " from " + std::to_string(first));
      }
    }
  }
}

TEST_P(BitwiseTest, LinearPassesOfManyRowsAgree) {
  Random random(12);
  const Packed weight = random_packed(random, 40, 70, WeightFormat::kBF16);
  const Floats x = random.floats(1030 * 70);
  const Floats all = linear(weight, x);
  for (const std::int64_t t : {0, 511, 512, 1029}) {
    expect_same_bits(linear(weight, rows_of(x, 70, t, 1)), rows_of(all, 40, t, 1), "row " + std::to_string(t));
  }
}

struct Ffn {
  std::int64_t hidden = 72, inner = 90;
  std::int32_t experts = 5;
  std::vector<Packed> weights;
  explicit Ffn(Random& random, WeightFormat format) {
    if (has_blocks(format)) hidden = inner = 256;
    for (std::int32_t e = 0; e < experts; ++e) {
      weights.push_back(random_packed(random, inner, hidden, format));
      weights.push_back(random_packed(random, inner, hidden, format));
      weights.push_back(random_packed(random, hidden, inner, format));
    }
  }
  ExpertWeights expert(std::int32_t e) const {
    const std::size_t at = static_cast<std::size_t>(3 * e);
    return {weights[at].weight(), weights[at + 1].weight(), weights[at + 2].weight()};
  }
};

// One call over the given (expert, row) assignments, groups in the order given.
struct Assignment {
  std::int32_t expert;
  std::vector<std::int32_t> rows;
};
void run_ffn(const OpTable& ops, Stream& stream, const Ffn& ffn, const Floats& x, std::vector<Assignment> order,
             Floats& y) {
  std::vector<ExpertGroup> groups;
  std::int32_t total = 0;
  for (const Assignment& a : order) {
    groups.push_back({ffn.expert(a.expert), a.rows.data(), a.rows.data(), static_cast<std::int32_t>(a.rows.size())});
    total += groups.back().rows;
  }
  Floats scratch(static_cast<std::size_t>(total) * static_cast<std::size_t>(ffn.inner));
  ops.expert_ffn(stream, {view(x, ffn.hidden), view(y, ffn.hidden), groups.data(),
                          static_cast<std::int32_t>(groups.size()), Activation::kSilu, scratch.data()});
}

TEST_P(BitwiseTest, ExpertGroupsInAnyOrderAndSplitGiveTheSameBits) {
  for (const WeightFormat format : kFormats) {
    Random random(13);
    const Ffn ffn(random, format);
    constexpr std::int32_t kRows = 60;
    const Floats x = random.floats(kRows * ffn.hidden);
    std::vector<Assignment> routed(static_cast<std::size_t>(ffn.experts));
    for (std::int32_t e = 0; e < ffn.experts; ++e) routed[static_cast<std::size_t>(e)].expert = e;
    for (std::int32_t r = 0; r < kRows; ++r) {
      const std::int32_t e = r < 30 ? 2 : random.below(ffn.experts - 1);  // one crowded expert, the last one empty
      routed[static_cast<std::size_t>(e)].rows.push_back(r);
    }
    Floats whole(x.size());
    run_ffn(ops(), stream(), ffn, x, routed, whole);

    Floats reversed(x.size());
    run_ffn(ops(), stream(), ffn, x, {routed.rbegin(), routed.rend()}, reversed);
    expect_same_bits(reversed, whole, "reversed groups");

    Floats one_by_one(x.size());
    for (const Assignment& a : routed) {
      for (const std::int32_t row : a.rows) run_ffn(ops(), stream(), ffn, x, {{a.expert, {row}}}, one_by_one);
    }
    expect_same_bits(one_by_one, whole, "a call per row");

    Floats halves(x.size());
    std::vector<Assignment> first, second;
    for (const Assignment& a : routed) {
      const auto middle = a.rows.begin() + static_cast<std::ptrdiff_t>(a.rows.size() / 2);
      first.push_back({a.expert, {a.rows.begin(), middle}});
      second.push_back({a.expert, {middle, a.rows.end()}});
    }
    run_ffn(ops(), stream(), ffn, x, second, halves);
    run_ffn(ops(), stream(), ffn, x, first, halves);
    expect_same_bits(halves, whole, "two calls");
  }
}

// gate, up and down as three linear calls round at the same places as the fused op.
TEST_P(BitwiseTest, ExpertFfnWithReluEqualsLinearCalls) {
  Random random(14);
  const Ffn ffn(random, WeightFormat::kBF16);
  const Floats x = random.floats(9 * ffn.hidden);
  Floats gate = linear(ffn.weights[0], x);
  const Floats up = linear(ffn.weights[1], x);
  for (std::size_t i = 0; i < gate.size(); ++i) gate[i] = (gate[i] > 0 ? gate[i] : 0.0f) * up[i];
  const Floats want = linear(ffn.weights[2], gate);
  std::vector<std::int32_t> rows(9);
  std::iota(rows.begin(), rows.end(), 0);
  const ExpertGroup group{ffn.expert(0), rows.data(), rows.data(), 9};
  Floats y(x.size()), scratch(static_cast<std::size_t>(9 * ffn.inner));
  ops().expert_ffn(stream(), {view(x, ffn.hidden), view(y, ffn.hidden), &group, 1, Activation::kRelu, scratch.data()});
  expect_same_bits(y, want, "fused");
}

std::vector<PagedSetup> attention_setups() {
  std::vector<PagedSetup> setups;
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16, DType::kI8}) {
    setups.push_back({4, 4, 64, 16, 0, type, 21});
    setups.push_back({8, 2, 40, 16, 0, type, 22});
    setups.push_back({6, 1, 16, 16, 37, type, 23});
  }
  return setups;
}

TEST_P(BitwiseTest, AttentionChunkedEqualsWhole) {
  for (const PagedSetup& setup : attention_setups()) {
    constexpr std::int32_t kPrompt = 150;
    const Floats whole = attend(ops(), stream(), setup, {{0, 0, kPrompt}});
    for (const std::int32_t chunk : {1, 7, 16, 64}) {
      Floats pieces;
      for (std::int32_t first = 0; first < kPrompt; first += chunk) {
        const Floats part = attend(ops(), stream(), setup, {{0, first, std::min(chunk, kPrompt - first)}});
        pieces.insert(pieces.end(), part.begin(), part.end());
      }
      expect_same_bits(pieces, whole, "chunks of " + std::to_string(chunk));
    }
  }
}

TEST_P(BitwiseTest, AttentionBlockSizeDoesNotMatter) {
  for (PagedSetup setup : attention_setups()) {
    const std::vector<SpanSpec> spans = {{0, 0, 70}, {1, 129, 1}, {2, 63, 2}};
    const Floats want = attend(ops(), stream(), setup, spans);
    for (const std::int32_t block_size : {1, 5, 64, 128}) {
      setup.block_size = block_size;
      expect_same_bits(attend(ops(), stream(), setup, spans), want, "block size " + std::to_string(block_size));
    }
  }
}

// A branch of a tree of tokens: its last positions are in slots of their own, in no order.
TEST_P(BitwiseTest, AttentionOfABranchEqualsThatOfASequence) {
  for (PagedSetup setup : attention_setups()) {
    for (const std::int32_t block_size : {5, 16}) {
      setup.block_size = block_size;
      for (const std::int32_t first : {3, 60, 126, 510}) {
        for (const std::int32_t rows : {1, 4}) {
          const SpanSpec plain{0, first, rows}, other{1, 77, 2};
          const Floats want = attend(ops(), stream(), setup, {plain, other});
          for (const std::int32_t tail : {1, 3, 4}) {
            const SpanSpec branch{0, first, rows, std::min(tail, first + rows)};
            expect_same_bits(attend(ops(), stream(), setup, {branch, other}), want, "tail of " + std::to_string(tail));
          }
        }
      }
    }
  }
}

TEST_P(BitwiseTest, AttentionSequenceAloneEqualsSequenceInBatch) {
  for (const PagedSetup& setup : attention_setups()) {
    const std::vector<SpanSpec> spans = {{0, 90, 1}, {1, 0, 33}, {2, 200, 5}, {3, 0, 1}, {4, 64, 64}};
    const Floats batch = attend(ops(), stream(), setup, spans);
    const std::int64_t width = setup.heads * setup.head_dim;
    std::int64_t first = 0;
    for (const SpanSpec& span : spans) {
      expect_same_bits(attend(ops(), stream(), setup, {span}), rows_of(batch, width, first, span.rows),
                       "sequence " + std::to_string(span.sequence));
      first += span.rows;
    }
  }
}

// Long contexts: segments are computed by one thread or several, alone or beside others, as rows of a chunk or one by
// one.
TEST_P(BitwiseTest, AttentionSegmentsGiveTheSameBitsHoweverTheyAreShared) {
  Machine one(GetParam(), 1);
  Machine four(GetParam(), 4);
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16, DType::kI8}) {
    for (const std::int32_t window : {0, 700}) {
      PagedSetup setup{4, 1, 32, 16, window, type, 25};
      const Floats whole = attend(one.ops(), *one.stream, setup, {{0, 1530, 12}});
      const std::int64_t width = setup.heads * setup.head_dim;
      for (const std::int32_t row : {0, 5, 6, 11}) {  // position 1536 begins a segment
        const Floats want = rows_of(whole, width, row, 1);
        const SpanSpec span{0, 1530 + row, 1};
        for (Machine* machine : {&one, &four}) {
          expect_same_bits(attend(machine->ops(), *machine->stream, setup, {span}), want, "alone");
          const Floats batch = attend(machine->ops(), *machine->stream, setup, {{1, 40, 30}, span, {2, 2000, 1}});
          expect_same_bits(rows_of(batch, width, 30, 1), want, "in a batch");
        }
        setup.block_size = 5;
        expect_same_bits(attend(four.ops(), *four.stream, setup, {span}), want, "block size 5");
        setup.block_size = 16;
      }
    }
  }
}

TEST_P(BitwiseTest, RowsOfTheOtherOpsDoNotSeeEachOther) {
  Random random(15);
  constexpr std::int64_t kCols = 200, kRows = 400;
  const Floats x = random.floats(kRows * kCols);
  const Floats weight = random.floats(kCols);
  Floats all(x.size());
  ops().rms_norm(stream(), {view(x, kCols), {}, weight.data(), 1e-6f, view(all, kCols)});
  const RouterRule rule{RouterScore::kSoftmax, RouterWeights::kRenormalize, GroupRule::kMax, 200, 8, 1, 1, 0.0f, 1.0f};
  std::vector<std::int32_t> ids(kRows * 8);
  Floats gates(ids.size());
  ops().router_topk(stream(), {rule, view(x, kCols), nullptr, ids.data(), gates.data()});
  for (const std::int64_t t : {std::int64_t{0}, std::int64_t{199}, kRows - 1}) {
    const Floats row = rows_of(x, kCols, t, 1);
    Floats out(row.size()), gate(8);
    std::vector<std::int32_t> id(8);
    ops().rms_norm(stream(), {view(row, kCols), {}, weight.data(), 1e-6f, view(out, kCols)});
    ops().router_topk(stream(), {rule, view(row, kCols), nullptr, id.data(), gate.data()});
    expect_same_bits(out, rows_of(all, kCols, t, 1), "rms_norm");
    expect_same_bits(gate, rows_of(gates, 8, t, 1), "router weights");
    EXPECT_TRUE(std::equal(id.begin(), id.end(), ids.begin() + t * 8));
  }
}

// A row of NaN must not leak into its neighbours, nor a later position into an earlier one.
TEST_P(BitwiseTest, NanStaysInItsRow) {
  Random random(16);
  const Packed weight = random_packed(random, 50, 64, WeightFormat::kF32);
  Floats x = random.floats(20 * 64);
  const Floats clean = linear(weight, x);
  for (std::int64_t k = 0; k < 64; ++k) x[static_cast<std::size_t>(7 * 64 + k)] = std::nanf("");
  const Floats dirty = linear(weight, x);
  expect_same_bits(rows_of(dirty, 50, 0, 7), rows_of(clean, 50, 0, 7), "rows before");
  expect_same_bits(rows_of(dirty, 50, 8, 12), rows_of(clean, 50, 8, 12), "rows after");
  EXPECT_TRUE(std::isnan(dirty[7 * 50]));
}

// The reverse test: the same products added in another order are seen.
TEST_P(BitwiseTest, AnotherOrderOfTheSumIsSeen) {
  Random random(17);
  constexpr std::int64_t kN = 16, kK = 512;
  const Floats w = random.floats(kN * kK);
  const Floats x = random.floats(kK);
  Floats w_turned(w.size()), x_turned(x.size());
  for (std::int64_t k = 0; k < kK; ++k) {
    x_turned[static_cast<std::size_t>(k)] = x[static_cast<std::size_t>(kK - 1 - k)];
    for (std::int64_t n = 0; n < kN; ++n) {
      w_turned[static_cast<std::size_t>(n * kK + k)] = w[static_cast<std::size_t>(n * kK + kK - 1 - k)];
    }
  }
  const Floats forward = linear(packed(w, kN, kK, WeightFormat::kF32), x);
  const Floats backward = linear(packed(w_turned, kN, kK, WeightFormat::kF32), x_turned);
  EXPECT_GE(first_difference(forward, backward), 0);
  expect_close(backward, forward, kN, LinearArgs::tolerance, "still close");
}

INSTANTIATE_TEST_SUITE_P(Isa, BitwiseTest, ::testing::ValuesIn(cpu_isas()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace foregate::testing
