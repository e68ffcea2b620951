// Rejected rows leave no trace in what is known of experts: after a run with drafts the policies' counts, the map of
// experts and the trace of routes say what they say after plain decoding of the same texts, byte for byte, and a replay
// of the trace counts what the store counted. Experts on disk, half of them in memory.
#include <gtest/gtest.h>

#include <string>

#include "engine/experts/replay.h"
#include "engine/experts/trace_reader.h"
#include "engine/experts/trace_writer.h"
#include "engine/model/route_tap.h"
#include "engine/spec/ngram_drafter.h"
#include "tests/engine/model/packing.h"
#include "tests/engine/runtime/borrowed_model.h"
#include "tests/engine/runtime/same_answer.h"

namespace foregate {
namespace {

using namespace testing_support;

constexpr TimeNs kLongNs = 3'600'000'000'000;  // longer than any test

struct Known {
  RunResult run;
  UseCounters counters;
  std::vector<double> values;  // keep_value() of every expert
  ExpertMap map;
  StoreStats store;
  MemoryFiles files;  // with the trace
};

std::vector<Request> repeating(std::int32_t vocab, int count = 5) {
  std::vector<Request> requests = mixed_requests(21, count, vocab, 5, 16, 40);
  for (Request& request : requests) {
    const std::vector<Token> once = request.prompt;
    for (int i = 0; i < 2; ++i) request.prompt.insert(request.prompt.end(), once.begin(), once.end());
    request.sampling.max_tokens = 40;
  }
  return requests;
}

class DraftsAndExperts : public ::testing::TestWithParam<const char*> {
 protected:
  static const MemoryFiles& disk() {
    static const MemoryFiles files = packing::packed(
        std::string(FOREGATE_SOURCE_DIR) + "/tests/golden/qwen3-moe-top4-norm", packing::pack_options("none"));
    return files;
  }

  static std::uint64_t expert_bytes() {
    std::uint64_t bytes = 0;
    auto model = PackedModel::open(disk(), "m");
    for (const PackedUnit& unit : model->index().units) bytes += unit.kind == PackedKind::kExpert ? unit.bytes : 0;
    return bytes;
  }

  // One sequence after the other, so that plain steps are of the same rows.
  static void run(std::uint64_t budget, const char* policy, bool drafts, bool told, Known& known,
                  LookaheadMode lookahead = LookaheadMode::kOff) {
    LoadOptions options = packing::load_options();
    options.experts.emplace();
    options.experts->warm = false;
    options.experts->store.policy = policy;
    options.experts->store.budget_bytes = budget;
    options.lookahead.mode = lookahead;
    packing::Loaded loaded = packing::load(disk(), "m", options);
    ASSERT_TRUE(loaded.model.ok());
    Transformer& model = **loaded.model;
    MemoryOutput dir(known.files, "t");
    auto writer = TraceWriter::create(*dir.open("trace"), trace_info("m", model.config(), model.weights()));
    ASSERT_TRUE(writer.ok());
    model.set_route_sink(&*writer);
    model.expert_board()->watch(kLongNs);
    EngineSetup setup;
    setup.options.max_num_batched_tokens = 32;
    setup.limits.vocab_size = model.vocab_size();
    if (drafts) setup.drafter = [] { return std::make_unique<NgramDrafter>(1, 3); };
    const ModelMaker maker = [&]() -> std::unique_ptr<Model> {
      auto borrowed = std::make_unique<BorrowedModel>(model);
      if (told) return borrowed;
      return std::make_unique<HookedModel>(
          std::move(borrowed), [](Model& inner, const ForwardInput& input, KvCache& cache, View2<float> logits) {
            ForwardInput silent = input;
            silent.drafted = {};
            return inner.forward(silent, cache, logits);
          });
    };
    known.run = run_requests(setup, maker, repeating(model.vocab_size()), Arrival::kOneByOne);
    ASSERT_TRUE(known.run.ended);
    ASSERT_TRUE(writer->finish().ok());
    const EvictionPolicy& held = model.store()->policy();
    known.counters = held.counters();
    const std::vector<std::int32_t>& experts = model.store()->table().experts;
    for (std::int32_t layer = 0; layer < static_cast<std::int32_t>(experts.size()); ++layer) {
      for (std::int32_t e = 0; e < experts[static_cast<std::size_t>(layer)]; ++e) {
        known.values.push_back(held.keep_value({LayerId{layer}, ExpertId{e}}));
      }
    }
    known.store = model.store()->stats();
    model.expert_board()->ask([&known](const auto& shown) { known.map = *shown; });
    model.show_experts();
  }

  static std::vector<TraceStep> steps(const Known& known, TraceInfo& info) {
    std::vector<TraceStep> all;
    auto file = known.files.open("t/trace");
    auto reader = TraceReader::open(**file);
    EXPECT_TRUE(reader.ok()) << reader.status().to_string();
    info = reader->info();
    for (TraceStep step; *reader->next(step);) all.push_back(step);
    return all;
  }
};

// Counts of rows and uses, expert by expert; what was in memory depends on what else was loaded.
bool same_counts(const ExpertMap& a, const ExpertMap& b) {
  bool same = a.watched_steps == b.watched_steps && a.cells.size() == b.cells.size() && !a.cells.empty();
  for (std::size_t i = 0; same && i < a.cells.size(); ++i) {
    same = a.cells[i].rows == b.cells[i].rows && a.cells[i].uses == b.cells[i].uses;
  }
  return same;
}

TEST_P(DraftsAndExperts, CountsAreThoseOfPlainDecoding) {
  for (const double share : {0.6, 1.0}) {
    const auto budget = static_cast<std::uint64_t>(share * static_cast<double>(expert_bytes()));
    Known plain;
    Known drafted;
    run(budget, GetParam(), false, true, plain);
    run(budget, GetParam(), true, true, drafted);
    ASSERT_EQ(compare_runs(plain.run, drafted.run).answers, 0);
    const SpecFigures& figures = *drafted.run.stats.speculation;
    EXPECT_GT(figures.accepted_tokens, 0u);
    EXPECT_LT(figures.accepted_tokens, figures.draft_tokens) << "some were rejected";
    EXPECT_LT(drafted.run.stats.steps, plain.run.stats.steps);
    EXPECT_EQ(plain.counters.rates, drafted.counters.rates);
    EXPECT_EQ(plain.values, drafted.values);
    EXPECT_TRUE(same_counts(plain.map, drafted.map));
  }
}

// The same comparison must find rows that are counted though nobody knows whether they stand.
TEST_P(DraftsAndExperts, DraftsThatNobodyTellsOfDoCount) {
  Known plain;
  Known drafted;
  const std::uint64_t budget = expert_bytes() * 6 / 10;
  run(budget, GetParam(), false, true, plain);
  run(budget, GetParam(), true, false, drafted);
  ASSERT_EQ(compare_runs(plain.run, drafted.run).answers, 0);
  EXPECT_NE(plain.values, drafted.values);
  EXPECT_FALSE(same_counts(plain.map, drafted.map));
}

TEST_P(DraftsAndExperts, AReplayCountsWhatTheStoreCounted) {
  const std::uint64_t budget = expert_bytes() * 6 / 10;
  Known plain;
  Known drafted;
  run(budget, GetParam(), false, true, plain);
  run(budget, GetParam(), true, true, drafted);
  TraceInfo info;
  const std::vector<TraceStep> all = steps(drafted, info);
  auto replay = Replay::create(info, {.policy = GetParam(), .budget_bytes = budget});
  ASSERT_TRUE(replay.ok()) << replay.status().to_string();
  std::uint64_t rejected = 0;
  std::uint64_t stood = 0;
  std::uint64_t counted = 0;
  for (const TraceStep& step : all) {
    replay->run(step);
    for (std::size_t row = 0; row < step.requests.size(); ++row) {
      rejected += step.counts(row) ? 0 : 1;
      counted += step.counts(row) ? 1 : 0;
      stood += step.stood[row];
    }
  }
  const SpecFigures& figures = *drafted.run.stats.speculation;
  EXPECT_EQ(stood, figures.accepted_tokens);
  EXPECT_EQ(rejected, figures.draft_tokens - figures.accepted_tokens);
  EXPECT_EQ(replay->figures().tokens, counted);
  EXPECT_EQ(replay->figures().hits, drafted.store.hits);
  EXPECT_EQ(replay->figures().misses, drafted.store.misses);
  EXPECT_EQ(replay->figures().evictions, drafted.store.evictions);
  TraceInfo other;
  std::uint64_t rows = 0;
  for (const TraceStep& step : steps(plain, other)) rows += step.requests.size();
  EXPECT_EQ(rows, counted) << "without rejected rows, those of plain decoding";
}

// Drafted tokens are foreseen before their step: loads of theirs are begun and used, and the answers are the same.
TEST_P(DraftsAndExperts, DraftedTokensAreForeseen) {
  Known plain;
  Known drafted;
  const std::uint64_t budget = expert_bytes() * 6 / 10;
  run(budget, GetParam(), false, true, plain);
  run(budget, GetParam(), true, true, drafted, LookaheadMode::kAlways);
  EXPECT_EQ(compare_runs(plain.run, drafted.run).answers, 0);
  EXPECT_EQ(plain.store.token_hints, 0u);
  EXPECT_GT(drafted.store.token_hints, 0u);
  EXPECT_GT(drafted.store.token_hints_useful, 0u);
  EXPECT_EQ(plain.values, drafted.values) << "what is loaded ahead is not counted either";
}

INSTANTIATE_TEST_SUITE_P(Speculation, DraftsAndExperts, ::testing::Values("lru", "lfu", "score", "auto"));

}  // namespace
}  // namespace foregate
