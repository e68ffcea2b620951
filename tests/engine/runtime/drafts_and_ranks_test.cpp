// Drafts where ranks share the experts, each with a store of its own: the policies of all ranks, the map of experts and
// what a placement is made from say after a run with drafts what they say after plain decoding of the same texts.
#include <gtest/gtest.h>

#include "engine/spec/ngram_drafter.h"
#include "tests/engine/model/packing.h"
#include "tests/engine/model/thread_ranks.h"
#include "tests/engine/runtime/borrowed_model.h"
#include "tests/engine/runtime/same_answer.h"

namespace foregate {
namespace {

using namespace testing_support;

constexpr TimeNs kLongNs = 3'600'000'000'000;  // longer than any test
constexpr std::int32_t kRanks = 3;

struct Known {
  RunResult run;
  std::vector<std::vector<double>> values;  // of each rank: keep_value() of every expert
  ExpertMap map;
  std::map<ExpertKey, std::uint64_t> routed;
};

// Texts that repeat themselves, and one at the end whose prompt uses every expert of every rank.
std::vector<Request> requests_of(std::int32_t vocab) {
  std::vector<Request> requests = mixed_requests(21, 5, vocab, 5, 16, 40);
  for (Request& request : requests) {
    const std::vector<Token> once = request.prompt;
    for (int i = 0; i < 2; ++i) request.prompt.insert(request.prompt.end(), once.begin(), once.end());
    request.sampling.max_tokens = 30;
  }
  Request& last = requests.back();
  last.prompt.clear();
  for (Token i = 0; i < 64; ++i) last.prompt.push_back((i * 37 + 5) % vocab);
  last.sampling.max_tokens = 1;
  return requests;
}

std::vector<double> values_of(const ExpertStore& store) {
  std::vector<double> values;
  const std::vector<std::int32_t>& experts = store.table().experts;
  for (std::int32_t layer = 0; layer < static_cast<std::int32_t>(experts.size()); ++layer) {
    for (std::int32_t e = 0; e < experts[static_cast<std::size_t>(layer)]; ++e) {
      values.push_back(store.policy().keep_value({LayerId{layer}, ExpertId{e}}));
    }
  }
  return values;
}

// `told`: the model hears which rows are of drafts.
void run(const MemoryFiles& disk, const char* policy, bool drafts, bool told, Known& known) {
  LoadOptions options = packing::load_options();
  options.experts.emplace();
  options.experts->warm = false;
  options.experts->store.policy = policy;
  options.experts->store.budget_bytes = std::uint64_t{64} << 20U;
  const OpenModel opened = std::move(*open_model(disk, "m"));
  std::vector<std::int32_t> experts;
  for (const LayerConfig& layer : opened.config.layers) {
    experts.push_back(layer.sparse ? opened.config.router.experts : 0);
  }
  ThreadRanks ranks("m", *PlacementPlan::round_robin(kRanks, experts), "auto", 32, options.experts, disk);
  options.ranks = &ranks;
  packing::Loaded loaded = packing::load(disk, "m", options);
  ASSERT_TRUE(loaded.model.ok()) << loaded.model.status().to_string();
  Transformer& model = **loaded.model;
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
  known.run = run_requests(setup, maker, requests_of(model.vocab_size()), Arrival::kOneByOne);
  ASSERT_TRUE(known.run.ended);
  ASSERT_TRUE(ranks.dropped().empty());
  known.values.push_back(values_of(*model.store()));
  for (std::int32_t rank = 1; rank < kRanks; ++rank) {
    known.values.push_back(values_of(*ranks.experts(RankId{rank}).weights().store));
  }
  model.expert_board()->ask([&known](const auto& shown) { known.map = *shown; });
  model.show_experts();
  known.routed = ranks.routed();
}

bool same_counts(const ExpertMap& a, const ExpertMap& b) {
  bool same = a.watched_steps == b.watched_steps && a.cells.size() == b.cells.size() && !a.cells.empty();
  for (std::size_t i = 0; same && i < a.cells.size(); ++i) {
    same = a.cells[i].rows == b.cells[i].rows && a.cells[i].uses == b.cells[i].uses;
  }
  return same;
}

TEST(DraftsAndRanks, CountsAreThoseOfPlainDecoding) {
  const MemoryFiles disk = packing::packed(std::string(FOREGATE_SOURCE_DIR) + "/tests/golden/qwen3-moe-top4-norm",
                                           packing::pack_options("none"));
  for (const char* policy : {"lfu", "score"}) {
    Known plain;
    Known drafted;
    Known silent;
    run(disk, policy, false, true, plain);
    run(disk, policy, true, true, drafted);
    run(disk, policy, true, false, silent);
    ASSERT_EQ(compare_runs(plain.run, drafted.run).answers, 0);
    const SpecFigures& figures = *drafted.run.stats.speculation;
    EXPECT_GT(figures.accepted_tokens, 0u);
    EXPECT_LT(figures.accepted_tokens, figures.draft_tokens) << "some were rejected";
    EXPECT_TRUE(plain.map.counted);
    EXPECT_TRUE(same_counts(plain.map, drafted.map)) << policy;
    EXPECT_EQ(plain.routed, drafted.routed) << policy;
    EXPECT_FALSE(plain.routed.empty());
    EXPECT_EQ(plain.values, drafted.values) << policy;
    // The same comparisons must find rows that are counted though nobody knows whether they stand.
    EXPECT_FALSE(same_counts(plain.map, silent.map));
    EXPECT_NE(plain.routed, silent.routed);
    for (std::size_t rank = 0; rank < kRanks; ++rank) EXPECT_NE(plain.values[rank], silent.values[rank]) << rank;
  }
}

}  // namespace
}  // namespace foregate
