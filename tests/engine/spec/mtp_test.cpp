// NextN layers: their logits and drafts against those that tests/golden/numpy_reference.py computes, on every
// instruction set, in pieces as whole; and what the drafter keeps of sequences and gives up.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <numeric>

#include "engine/model/nextn.h"
#include "engine/spec/mtp_drafter.h"
#include "tests/engine/model/driver.h"

namespace foregate {
namespace {

using Floats = std::vector<float>;
using Tokens = std::vector<Token>;

constexpr std::int32_t kBlock = 4;
constexpr std::int32_t kDraft = 4;
constexpr int kPrompts = 3;
constexpr double kLargestError = 1e-3;  // of the largest reference logit of the prompt

template <class T>
T must(Result<T> result) {
  if (!result.ok()) std::fprintf(stderr, "%s\n", result.status().to_string().c_str());
  CHECK(result.ok());
  return std::move(result).value();
}

KvCache cache_of(const Model& model, Device& device, std::int64_t positions) {
  return must(KvCache::create(device, model.kv_layout(DType::kF32, kBlock), positions / kBlock));
}

// A model of tests/golden/nextn and its NextN layer.
struct Pair {
  std::string dir;
  Backend backend;
  std::unique_ptr<Stream> stream;
  std::unique_ptr<Transformer> model;
  std::unique_ptr<Transformer> layer;

  std::size_t hidden_size() const { return static_cast<std::size_t>(model->config().hidden_size); }
  TensorIndex golden() const { return must(TensorIndex::open_file(local_files(), dir + "/golden.safetensors")); }
};

Pair load_pair(const std::string& name, const std::string& isa = "ref") {
  Pair pair;
  pair.dir = std::string(FOREGATE_SOURCE_DIR) + "/tests/golden/nextn/" + name;
  std::string error;
  pair.backend = make_backend({.isa = isa, .threads = 1}, &error);
  CHECK(pair.backend.device != nullptr);
  pair.stream = pair.backend.device->create_stream();
  const OpenModel opened = must(open_model(local_files(), pair.dir));
  const LoadOptions load{.max_batched_tokens = 64};
  pair.model = must(load_transformer(opened, *pair.backend.device, pair.backend.ops, *pair.stream, load));
  pair.layer = must(load_nextn(opened, *pair.model, load));
  return pair;
}

// Rows of one sequence from `first` on; logits of each of them, and `hidden_out`.
Floats run(Transformer& model, KvCache& cache, std::span<const Token> tokens, std::int32_t first,
           std::span<const float> hidden_in, Floats& hidden_out) {
  std::vector<std::int32_t> positions(tokens.size());
  std::iota(positions.begin(), positions.end(), first);
  const std::vector<std::int64_t> slots(positions.begin(), positions.end());
  std::vector<std::int32_t> rows(tokens.size());
  std::iota(rows.begin(), rows.end(), 0);
  std::vector<std::int32_t> table(static_cast<std::size_t>(cache.num_blocks()));
  std::iota(table.begin(), table.end(), 0);
  const std::vector<SeqSpan> seqs = {{0, static_cast<std::int32_t>(tokens.size()), first, table.data()}};
  const std::int64_t vocab = model.vocab_size();
  Floats logits(tokens.size() * static_cast<std::size_t>(vocab));
  hidden_out.assign(tokens.size() * static_cast<std::size_t>(model.config().hidden_size), 0.0F);
  ForwardInput input{tokens, positions, slots, seqs, rows};
  input.hidden_in = hidden_in;
  input.hidden_out = hidden_out;
  const Status ran = model.forward(input, cache, {logits.data(), static_cast<std::int64_t>(rows.size()), vocab, vocab});
  EXPECT_TRUE(ran.ok()) << ran.to_string();
  return logits;
}

// What the lm head reads of each token but the last.
Floats states_before(const Pair& pair, const Tokens& tokens) {
  KvCache cache = cache_of(*pair.model, *pair.backend.device, 64);
  Floats hidden;
  run(*pair.model, cache, tokens, 0, {}, hidden);
  hidden.resize(hidden.size() - pair.hidden_size());
  return hidden;
}

std::unique_ptr<MtpDrafter> drafter_of(Pair& pair, MtpShape shape) {
  shape.hidden_size = pair.model->config().hidden_size;
  shape.vocab_size = pair.model->vocab_size();
  KvCache cache = cache_of(*pair.layer, *pair.backend.device, std::int64_t{shape.places} * shape.positions);
  return std::make_unique<MtpDrafter>(std::move(pair.layer), *pair.backend.device, std::move(cache), shape);
}

double error_of(const Floats& logits, const Floats& reference) {
  EXPECT_EQ(logits.size(), reference.size());
  double difference = 0.0;
  double largest = 0.0;
  for (std::size_t i = 0; i < std::min(logits.size(), reference.size()); ++i) {
    if (std::isnan(logits[i])) return INFINITY;
    difference = std::max(difference, std::abs(static_cast<double>(logits[i]) - reference[i]));
    largest = std::max(largest, std::abs(static_cast<double>(reference[i])));
  }
  return difference / largest;
}

Draft propose(MtpDrafter& drafter, SeqId seq, const Tokens& tokens, std::int32_t most = kDraft) {
  DraftAsk ask;
  ask.seq = seq;
  ask.tokens = tokens;
  ask.most = most;
  Draft draft;
  drafter.propose({&ask, 1}, {&draft, 1});
  return draft;
}

class Nextn : public ::testing::TestWithParam<std::string> {};

TEST_P(Nextn, LogitsMatchTheReferenceInPiecesAsWhole) {
  for (const std::string& isa : runnable_isas()) {
    Pair pair = load_pair(GetParam(), isa);
    const TensorIndex golden = pair.golden();
    for (int i = 0; i < kPrompts; ++i) {
      const std::string prompt = "prompt." + std::to_string(i);
      const auto tokens = read_tensor<Token>(golden, prompt + ".tokens");
      const Floats before = states_before(pair, tokens);
      const auto next = std::span(tokens).subspan(1);
      KvCache cache = cache_of(*pair.layer, *pair.backend.device, 64);
      Floats states;
      const Floats whole = run(*pair.layer, cache, next, 0, before, states);
      const double error = error_of(whole, read_tensor<float>(golden, prompt + ".logits"));
      EXPECT_LE(error, kLargestError) << isa;
      std::printf("nextn %s %s %.2e (%zu rows)\n", GetParam().c_str(), isa.c_str(), error, next.size());
      KvCache other = cache_of(*pair.layer, *pair.backend.device, 64);
      Floats pieces;
      for (std::size_t at = 0; at < next.size(); at += 3) {
        const std::size_t rows = std::min<std::size_t>(3, next.size() - at);
        const auto hidden = std::span(before).subspan(at * pair.hidden_size(), rows * pair.hidden_size());
        const Floats some =
            run(*pair.layer, other, next.subspan(at, rows), static_cast<std::int32_t>(at), hidden, states);
        pieces.insert(pieces.end(), some.begin(), some.end());
      }
      EXPECT_EQ(pieces, whole) << isa;  // byte for byte
    }
  }
}

TEST_P(Nextn, ItsLayerFollowsTheRulesOfTheOthers) {
  const Pair pair = load_pair(GetParam());
  ASSERT_EQ(pair.model->config().nextn.size(), 1u);
  EXPECT_EQ(pair.model->config().nextn[0].sparse, GetParam() == "sparse-shared-head");
  EXPECT_TRUE(pair.model->config().layers[1].sparse);
  const bool own = pair.layer->weights().lm_head.data != pair.model->weights().lm_head.data;
  EXPECT_EQ(own, GetParam() == "dense-own-head");
  // A model of the usual kind takes no states, its NextN layer must have them.
  KvCache cache = cache_of(*pair.layer, *pair.backend.device, 64);
  const std::vector<Token> token = {7};
  const std::vector<std::int32_t> zero = {0};
  const std::vector<std::int64_t> slot = {0};
  const std::vector<SeqSpan> seqs = {{0, 1, 0, zero.data()}};
  EXPECT_FALSE(pair.layer->forward({token, zero, slot, seqs, {}}, cache, {nullptr, 0, 96, 96}).ok());
}

TEST_P(Nextn, DraftsAreThoseOfTheReference) {
  for (const std::int32_t max_rows : {64, 5}) {  // 5: it catches up over several turns, and declines until then
    Pair pair = load_pair(GetParam());
    const TensorIndex golden = pair.golden();
    const auto drafter = drafter_of(pair, {.places = 2, .positions = 48, .kept = 40, .max_rows = max_rows});
    for (int i = 0; i < kPrompts; ++i) {
      const std::string prompt = "prompt." + std::to_string(i);
      const auto tokens = read_tensor<Token>(golden, prompt + ".tokens");
      const Floats before = states_before(pair, tokens);
      const SeqId seq(static_cast<std::uint64_t>(i));
      for (std::size_t at = 0; at < tokens.size() - 1; at += 7) {  // as chunks of a prompt come
        const std::size_t rows = std::min<std::size_t>(7, tokens.size() - 1 - at);
        drafter->computed(seq, static_cast<std::int32_t>(at),
                          std::span(before).subspan(at * pair.hidden_size(), rows * pair.hidden_size()));
      }
      Draft draft;
      for (std::size_t at = 0; at < tokens.size() - 1; at += static_cast<std::size_t>(max_rows)) {
        EXPECT_TRUE(draft.tokens.empty());
        draft = propose(*drafter, seq, tokens);
      }
      const auto expected = read_tensor<Token>(golden, prompt + ".draft");
      EXPECT_EQ(draft.tokens, expected);
      EXPECT_EQ(draft.sure.size(), draft.tokens.size());
      // Drafted rows leave nothing behind: asked again, it says the same.
      EXPECT_EQ(propose(*drafter, seq, tokens).tokens, expected);
      EXPECT_LE(drafter->rows_missed(), 0);
      drafter->forget(seq);
      EXPECT_TRUE(propose(*drafter, seq, tokens).tokens.empty());
    }
    EXPECT_EQ(drafter->begun_anew(), 0u);
  }
}

INSTANTIATE_TEST_SUITE_P(All, Nextn, ::testing::Values("sparse-shared-head", "dense-own-head"), [](const auto& info) {
  std::string name = info.param;
  std::ranges::replace(name, '-', '_');
  return name;
});

// The longest prompt of a fixture, and the states before its last token.
struct Known {
  explicit Known(const Pair& pair) : tokens(read_tensor<Token>(pair.golden(), "prompt.2.tokens")) {
    before = states_before(pair, tokens);
    size = pair.hidden_size();
    draft = read_tensor<Token>(pair.golden(), "prompt.2.draft");
  }
  std::span<const float> rows(std::int32_t first, std::int32_t end) const {
    return std::span(before).subspan(static_cast<std::size_t>(first) * size,
                                     static_cast<std::size_t>(end - first) * size);
  }
  std::int32_t known() const { return static_cast<std::int32_t>(tokens.size()) - 1; }

  Tokens tokens, draft;
  Floats before;
  std::size_t size = 0;
};

TEST(MtpDrafter, BeginsAnewWhereStatesAreGoneOrItsRoomIsFull) {
  Pair pair = load_pair("sparse-shared-head");
  const Known known(pair);
  const auto drafter = drafter_of(pair, {.places = 1, .positions = 24, .kept = 16, .max_rows = 64});
  const SeqId seq(1);
  drafter->computed(seq, 0, known.rows(0, 20));
  const Tokens first(known.tokens.begin(), known.tokens.begin() + 21);
  EXPECT_EQ(propose(*drafter, seq, first).tokens.size(), 4u);  // of 20 states, 4 are gone
  EXPECT_EQ(drafter->begun_anew(), 1u);
  EXPECT_EQ(drafter->rows_missed(), 16);
  drafter->computed(seq, 20, known.rows(20, 24));
  const Tokens more(known.tokens.begin(), known.tokens.begin() + 25);
  EXPECT_EQ(propose(*drafter, seq, more).tokens.size(), 4u);  // 20 rows and a draft fit
  EXPECT_EQ(drafter->begun_anew(), 1u);
  EXPECT_EQ(drafter->rows_missed(), 0);
  drafter->computed(seq, 24, known.rows(24, known.known()));
  EXPECT_EQ(propose(*drafter, seq, known.tokens).tokens.size(), 4u);
  EXPECT_EQ(drafter->begun_anew(), 2u);
}

TEST(MtpDrafter, RowsThatComeAgainChangeNothingAndAGapBeginsAnew) {
  Pair pair = load_pair("dense-own-head");
  const Known known(pair);
  const auto drafter = drafter_of(pair, {.places = 1, .positions = 64, .kept = 40, .max_rows = 64});
  const SeqId seq(1);
  drafter->computed(seq, 0, known.rows(0, 30));
  drafter->computed(seq, 0, known.rows(0, 12));  // computed again after it had to give its blocks back
  EXPECT_TRUE(propose(*drafter, seq, known.tokens).tokens.empty());  // states are missing
  drafter->computed(seq, 12, known.rows(12, known.known()));
  EXPECT_EQ(propose(*drafter, seq, known.tokens).tokens, known.draft);
  drafter->forget(seq);
  drafter->computed(seq, 25, known.rows(25, known.known()));  // the rest was found in a cache
  EXPECT_EQ(propose(*drafter, seq, known.tokens).tokens.size(), 4u);
  EXPECT_EQ(drafter->rows_missed(), known.known() - 25);
}

TEST(MtpDrafter, WhatIsNotFiniteStaysInNobodysPages) {
  Pair pair = load_pair("dense-own-head");
  const Known known(pair);
  const auto drafter = drafter_of(pair, {.places = 1, .positions = 64, .kept = 40, .max_rows = 64});
  Floats broken(known.before.begin(), known.before.end());
  broken[3 * known.size] = std::numeric_limits<float>::quiet_NaN();
  drafter->computed(SeqId(1), 0, broken);
  EXPECT_TRUE(propose(*drafter, SeqId(1), known.tokens).tokens.empty());
  std::ranges::fill(broken, std::numeric_limits<float>::max());  // finite, and too much for the layer
  drafter->forget(SeqId(1));
  drafter->computed(SeqId(2), 0, broken);
  propose(*drafter, SeqId(2), known.tokens);
  drafter->forget(SeqId(2));
  drafter->computed(SeqId(3), 0, known.before);
  EXPECT_EQ(propose(*drafter, SeqId(3), known.tokens).tokens, known.draft);
}

TEST(MtpDrafter, FollowsAsManySequencesAsThereArePlaces) {
  Pair pair = load_pair("dense-own-head");
  const Known known(pair);
  const auto drafter = drafter_of(pair, {.places = 1, .positions = 64, .kept = 40, .max_rows = 64});
  EXPECT_EQ(drafter->warm_up(), 16);
  drafter->computed(SeqId(1), 0, known.before);
  drafter->computed(SeqId(2), 0, known.before);  // there is no place
  EXPECT_TRUE(propose(*drafter, SeqId(2), known.tokens).tokens.empty());
  EXPECT_EQ(propose(*drafter, SeqId(1), known.tokens).tokens, known.draft);
  for (int i = 0; i < 3; ++i) drafter->computed(SeqId(2), 0, known.before);  // nobody speaks of the first any more
  EXPECT_EQ(propose(*drafter, SeqId(2), known.tokens).tokens, known.draft);
  EXPECT_TRUE(propose(*drafter, SeqId(1), known.tokens).tokens.empty());
}

TEST(MtpDrafter, RefusesWhatDoesNotGoTogether) {
  Pair pair = load_pair("dense-own-head");
  const auto refused = [&](const std::string& dir, const char* named) {
    const OpenModel other = must(open_model(local_files(), std::string(FOREGATE_SOURCE_DIR) + dir));
    const Status status = load_nextn(other, *pair.model, {}).status();
    EXPECT_EQ(status.code(), Code::kInvalidArgument) << dir;
    EXPECT_EQ(status.field(), "speculative_config");
    EXPECT_NE(status.message().find(named), std::string::npos) << status.message();
  };
  refused("/tests/golden/qwen3-moe-top4-norm", "num_nextn_predict_layers");
  refused("/tests/golden/nextn/sparse-shared-head", "hidden_size");
}

}  // namespace
}  // namespace foregate
