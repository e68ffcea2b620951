// Drafts that are trees change nothing: over the stub model, each of whose rows reads the whole history that its branch
// says and fails when a slot holds anything else, a sibling's token first of all.
#include <gtest/gtest.h>

#include "engine/base/metrics.h"
#include "engine/spec/ngram_drafter.h"
#include "engine/spec/suffix_drafter.h"
#include "engine/spec/token_tree.h"
#include "tests/engine/runtime/same_answer.h"
#include "tests/engine/runtime/tree_oracle.h"

namespace foregate {
namespace {

using namespace testing_support;

std::unique_ptr<Model> stub() {
  return std::make_unique<StubModel>(kVocab);
}

std::vector<Request> requests_for_axes() {
  return mixed_requests(3, 32, kVocab, 1, 70, 40);
}

EngineSetup with_trees() {
  EngineSetup setup;
  setup.tree = wide_tree();
  setup.drafter = [] {
    const std::vector<Request> requests = requests_for_axes();
    std::vector<SampleLog> answers;
    for (const Request& request : requests) answers.push_back(expected_answer(request, 0));
    return std::make_unique<TreeOracle>(requests, answers, kVocab);
  };
  return setup;
}

const RunResult& alone() {
  static const RunResult result = run_requests(EngineSetup(), stub, requests_for_axes(), Arrival::kOneByOne);
  return result;
}

void expect_same(const RunResult& run) {
  ASSERT_TRUE(alone().ended && run.ended);
  const Difference difference = compare_runs(alone(), run);
  EXPECT_EQ(difference.answers, 0);
  EXPECT_EQ(difference.logits, 0);
  EXPECT_EQ(difference.compared, static_cast<std::int64_t>(alone().record->rows.size()));
  EXPECT_EQ(run.stats.kv_blocks_used, 0);
  EXPECT_EQ(run.stats.failed, alone().stats.failed);
  ASSERT_TRUE(run.stats.speculation.has_value());
}

void expect_branches(const SpecFigures& figures) {
  EXPECT_GT(figures.trees, 0u);
  EXPECT_GT(figures.branches_accepted, 0u);
  EXPECT_LT(figures.branches_accepted, figures.trees);
  EXPECT_GE(figures.positions_moved, figures.branches_accepted);
  EXPECT_LE(figures.positions_moved, figures.tree_nodes_accepted);
  EXPECT_LT(figures.tree_nodes_accepted, figures.tree_nodes);
}

TEST(DraftTrees, EqualPlainInBatchesOfAnyWidth) {
  for (const int width : {1, 3, 8, 32}) {
    for (const Arrival arrival : {Arrival::kTogether, Arrival::kRandom}) {
      EngineSetup setup = with_trees();
      setup.options.max_num_seqs = width;
      setup.options.max_num_batched_tokens = 512;
      setup.num_blocks = 2048;
      const RunResult run = run_requests(setup, stub, requests_for_axes(), arrival, 11);
      expect_same(run);
      expect_branches(*run.stats.speculation);
    }
  }
}

TEST(DraftTrees, EqualPlainInBlocksOfAnySizeAndCutSteps) {
  for (const int block : {1, 3, 16}) {
    for (const int rows : {16, 41}) {  // trees are cut to the rows that are left
      EngineSetup setup = with_trees();
      setup.block_size = block;
      setup.num_blocks = 4096 / block;
      setup.options.max_num_batched_tokens = rows;
      const RunResult run = run_requests(setup, stub, requests_for_axes(), Arrival::kTogether);
      expect_same(run);
      expect_branches(*run.stats.speculation);
    }
  }
}

TEST(DraftTrees, EqualPlainWithTooFewBlocks) {
  EngineSetup setup = with_trees();
  setup.num_blocks = 32;
  const RunResult run = run_requests(setup, stub, requests_for_axes(), Arrival::kTogether);
  expect_same(run);
  expect_branches(*run.stats.speculation);
  EXPECT_GT(run.stats.preemptions, 0u);
}

TEST(DraftTrees, OfSuffixesAndLookupsEqualPlain) {
  EngineSetup setup;
  setup.tree = wide_tree();
  setup.drafter = [] { return std::make_unique<SuffixDrafter>(SuffixOptions{.min_token_prob = 0.0}); };
  expect_same(run_requests(setup, stub, requests_for_axes(), Arrival::kTogether));
  setup.drafter = [] { return std::make_unique<NgramDrafter>(1, 3); };
  const RunResult run = run_requests(setup, stub, requests_for_axes(), Arrival::kTogether);
  expect_same(run);
  EXPECT_GT(run.stats.speculation->trees, 0u);
}

TEST(DraftTrees, FiguresGoOut) {
  Metrics metrics;
  EngineSetup setup = with_trees();
  setup.metrics = &metrics;
  const RunResult run = run_requests(setup, stub, requests_for_axes(), Arrival::kTogether);
  const SpecFigures& figures = *run.stats.speculation;
  const std::string text = metrics.prometheus_text();
  for (const auto& [name, value] : {std::pair("foregate_spec_trees_total", figures.trees),
                                    std::pair("foregate_spec_branches_accepted_total", figures.branches_accepted),
                                    std::pair("foregate_spec_positions_moved_total", figures.positions_moved)}) {
    const std::string expected = std::string(name) + "{model_name=\"stub\"} " + std::to_string(value) + "\n";
    EXPECT_NE(text.find(expected), std::string::npos) << expected << text;
  }
}

}  // namespace
}  // namespace foregate
