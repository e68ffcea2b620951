// Drafts together with what else decides over a sequence: every scheduling policy and way of preemption, and outputs
// held to a form. Tokens and log-probabilities are those of plain decoding, byte for byte, and counters prove that
// drafts stood and were rejected while it happened.
#include <gtest/gtest.h>

#include "engine/base/rng.h"
#include "engine/grammar/compile.h"
#include "tests/engine/runtime/same_answer.h"

namespace foregate {
namespace {

using namespace testing_support;

std::unique_ptr<Model> stub() {
  return std::make_unique<StubModel>(kVocab);
}

// Drafts what a plain run answered, one token in four changed, in drafts of uneven length.
class ReplayDrafter final : public Drafter {
 public:
  ReplayDrafter(const std::vector<Request>& requests, const RunResult& plain) {
    for (std::size_t i = 0; i < requests.size(); ++i) {
      histories_[requests[i].id.value] = requests[i].prompt;
      std::vector<Token>& history = histories_[requests[i].id.value];
      history.insert(history.end(), plain.logs[i].tokens.begin(), plain.logs[i].tokens.end());
    }
  }
  void propose(std::span<const DraftAsk> asks, std::span<Draft> drafts) override {
    for (std::size_t i = 0; i < asks.size(); ++i) {
      const std::uint64_t id = asks[i].request.value;
      const std::vector<Token>& history = histories_.at(id);
      const std::size_t at = asks[i].tokens.size();
      const auto most = static_cast<std::size_t>(uniform01(id, 5, at) * (asks[i].most + 1));
      for (std::size_t k = at; k < std::min(history.size(), at + most); ++k) {
        const bool wrong = uniform01(id, 6, k) < 0.25;
        drafts[i].tokens.push_back(wrong ? (history[k] + 1) % kVocab : history[k]);
      }
    }
  }

 private:
  std::map<std::uint64_t, std::vector<Token>> histories_;
};

void expect_same(const RunResult& plain, const RunResult& run) {
  ASSERT_TRUE(plain.ended && run.ended);
  const Difference difference = compare_runs(plain, run);
  EXPECT_EQ(difference.answers, 0);
  EXPECT_EQ(difference.logits, 0);
  EXPECT_EQ(run.stats.kv_blocks_used, 0);
  EXPECT_EQ(run.stats.swap_bytes_used, 0);
  ASSERT_TRUE(run.stats.speculation.has_value());
  EXPECT_GT(run.stats.speculation->accepted_tokens, 0u);
  EXPECT_LT(run.stats.speculation->accepted_tokens, run.stats.speculation->draft_tokens);
}

std::vector<Request> requests_of_clients() {
  std::vector<Request> requests = mixed_requests(33, 32, kVocab, 1, 40, 40);
  for (std::size_t i = 0; i < requests.size(); ++i) {
    requests[i].client = 1 + i % 3;
    requests[i].priority = static_cast<std::int32_t>((i * 7) % 5);
  }
  return requests;
}

struct Axis {
  PolicyKind policy;
  PreemptionMode preemption;
};

class DraftsUnderPolicies : public ::testing::TestWithParam<Axis> {};
TEST_P(DraftsUnderPolicies, AnswersAreThoseOfPlainDecoding) {
  const std::vector<Request> requests = requests_of_clients();
  const RunResult plain = run_requests(EngineSetup(), stub, requests, Arrival::kOneByOne);
  EngineSetup setup;
  setup.num_blocks = 24;
  setup.options.max_num_seqs = 4;
  setup.options.policy.kind = GetParam().policy;
  setup.options.policy.mlfq = {4, 8, 64};
  setup.options.policy.dlpm.quantum = 64;
  setup.options.preemption = GetParam().preemption;
  setup.options.swap_space_bytes = 1 << 20;
  setup.drafter = [&] { return std::make_unique<ReplayDrafter>(requests, plain); };
  std::uint64_t preemptions = 0;
  for (Arrival arrival : {Arrival::kTogether, Arrival::kRandom}) {
    const RunResult run = run_requests(setup, stub, requests, arrival, 3);
    expect_same(plain, run);
    preemptions += run.stats.preemptions;
  }
  EXPECT_GT(preemptions, 0u);
}
INSTANTIATE_TEST_SUITE_P(Speculation, DraftsUnderPolicies,
                         ::testing::Values(Axis{PolicyKind::kFcfs, PreemptionMode::kSwap},
                                           Axis{PolicyKind::kPriority, PreemptionMode::kRecompute},
                                           Axis{PolicyKind::kPriority, PreemptionMode::kSwap},
                                           Axis{PolicyKind::kMlfq, PreemptionMode::kRecompute},
                                           Axis{PolicyKind::kMlfq, PreemptionMode::kSwap},
                                           Axis{PolicyKind::kDlpm, PreemptionMode::kSwap}));

// The stub's ids as letters; '#' stands for the end.
const std::string kLetters = "abcdefg#hijklmnopqrstuvwxyz0123456789{}[]:,\"-.+()<>=!?*/_ ABCDEFGH";

std::shared_ptr<const TokenConstraint> form(GrammarSpec::Kind kind, const std::string& text) {
  grammar::Vocabulary vocabulary;
  for (Token id = 0; id < kVocab; ++id) {
    vocabulary.tokens.push_back(id == kEos ? "" : std::string(1, kLetters[static_cast<std::size_t>(id)]));
  }
  vocabulary.end_ids = {kEos};
  static GrammarCompiler compiler{vocabulary};
  auto made = compiler.compile({kind, text});
  CHECK(made.ok());
  return *made;
}

TEST(DraftsWithForms, AnswersAreThoseOfPlainDecodingAndFit) {
  const auto object =
      form(GrammarSpec::Kind::kGbnf, "root ::= \"{\" [a-z]{4,20} \":\" value \"}\"\nvalue ::= [0-9]{6,20} | root");
  const auto word = form(GrammarSpec::Kind::kRegex, "[a-e]{8,40}");
  std::vector<Request> requests = mixed_requests(41, 24, kVocab, 2, 20, 40);
  for (std::size_t i = 0; i < requests.size(); ++i) {
    requests[i].sampling.max_tokens = 60;
    if (i % 4 != 3) requests[i].constraint = i % 2 == 0 ? object : word;
  }
  const RunResult plain = run_requests(EngineSetup(), stub, requests, Arrival::kOneByOne);
  EngineSetup setup;
  setup.num_blocks = 60;
  setup.drafter = [&] { return std::make_unique<ReplayDrafter>(requests, plain); };
  const RunResult run = run_requests(setup, stub, requests, Arrival::kTogether);
  expect_same(plain, run);
  EXPECT_GT(run.stats.preemptions, 0u);
  EXPECT_LT(run.stats.steps, plain.stats.steps);
  int ended = 0;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    if (i % 4 == 3) continue;
    EXPECT_EQ(run.logs[i].finish, plain.logs[i].finish);
    ended += run.logs[i].finish == FinishReason::kStop ? 1 : 0;
    for (const Token id : run.logs[i].tokens) {
      const char c = kLetters[static_cast<std::size_t>(id)];
      EXPECT_EQ(std::string(i % 2 == 0 ? "ABCDEFGH.+()<>" : "fghijklmnop0123456789{}").find(c), std::string::npos);
    }
  }
  EXPECT_GT(ended, 6);
}

}  // namespace
}  // namespace foregate
