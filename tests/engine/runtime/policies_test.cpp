// Every policy and way of preemption gives the answers that a request gets alone, byte for byte on logits and tokens,
// and counters prove that what is compared did happen.
#include <gtest/gtest.h>

#include <future>

#include "tests/engine/runtime/same_answer.h"

namespace foregate {
namespace {

using namespace testing_support;

std::unique_ptr<Model> stub() {
  return std::make_unique<StubModel>(kVocab);
}

std::vector<Request> requests_of(std::uint64_t seed) {
  std::vector<Request> requests = mixed_requests(seed, 40, kVocab, 1, 40, 40);
  for (std::size_t i = 0; i < requests.size(); ++i) {
    requests[i].client = 1 + i % 3;
    requests[i].priority = static_cast<std::int32_t>((i * 7) % 5);
  }
  return requests;
}

const RunResult& alone() {
  static const RunResult result = [] {
    EngineSetup setup;
    setup.options.prefix_caching = false;
    return run_requests(setup, stub, requests_of(21), Arrival::kOneByOne);
  }();
  return result;
}

void expect_same(const RunResult& run) {
  ASSERT_TRUE(run.ended);
  const Difference difference = compare_runs(alone(), run);
  EXPECT_EQ(difference.answers, 0);
  EXPECT_EQ(difference.logits, 0);
  EXPECT_EQ(difference.compared, static_cast<std::int64_t>(alone().record->rows.size()));
  EXPECT_EQ(run.stats.kv_blocks_used, 0);
  EXPECT_EQ(run.stats.swap_bytes_used, 0);
}

struct Axis {
  PolicyKind policy;
  PreemptionMode preemption;
  bool prefix_caching;
};

class Policies : public ::testing::TestWithParam<Axis> {};
TEST_P(Policies, SameAnswersUnderPressure) {
  EngineSetup setup;
  setup.num_blocks = 24;  // 96 positions; one request may need 79
  setup.options.max_num_seqs = 4;
  setup.options.policy.kind = GetParam().policy;
  setup.options.policy.mlfq = {4, 8, 64};
  setup.options.policy.dlpm.quantum = 64;
  setup.options.preemption = GetParam().preemption;
  setup.options.swap_space_bytes = 1 << 20;
  setup.options.prefix_caching = GetParam().prefix_caching;
  std::uint64_t preemptions = 0;
  for (Arrival arrival : {Arrival::kTogether, Arrival::kRandom}) {
    const RunResult run = run_requests(setup, stub, requests_of(21), arrival, 3);
    expect_same(run);
    const EngineStats& stats = run.stats;
    preemptions += stats.preemptions;
    EXPECT_EQ(stats.swaps_out > 0, stats.preemptions > 0 && GetParam().preemption == PreemptionMode::kSwap);
    EXPECT_LE(stats.swaps_in, stats.swaps_out);
    if (!GetParam().prefix_caching) {
      EXPECT_EQ(stats.swaps_in, stats.swaps_out);
    }
    EXPECT_EQ(stats.policy_demotions > 0, GetParam().policy == PolicyKind::kMlfq);
    EXPECT_EQ(stats.policy_refills > 0, GetParam().policy == PolicyKind::kDlpm);
  }
  EXPECT_GT(preemptions, 0u);
}
INSTANTIATE_TEST_SUITE_P(SameAnswer, Policies,
                         ::testing::Values(Axis{PolicyKind::kFcfs, PreemptionMode::kSwap, true},
                                           Axis{PolicyKind::kFcfs, PreemptionMode::kSwap, false},
                                           Axis{PolicyKind::kPriority, PreemptionMode::kRecompute, true},
                                           Axis{PolicyKind::kPriority, PreemptionMode::kSwap, false},
                                           Axis{PolicyKind::kMlfq, PreemptionMode::kRecompute, false},
                                           Axis{PolicyKind::kMlfq, PreemptionMode::kSwap, true},
                                           Axis{PolicyKind::kMlfq, PreemptionMode::kSwap, false},
                                           Axis{PolicyKind::kDlpm, PreemptionMode::kRecompute, true},
                                           Axis{PolicyKind::kDlpm, PreemptionMode::kSwap, true}));

TEST(Swap, WhatHasNoRoomIsComputedAgain) {
  EngineSetup setup;
  setup.num_blocks = 32;
  setup.options.prefix_caching = false;
  setup.options.preemption = PreemptionMode::kSwap;
  setup.options.swap_space_bytes = 0;
  const RunResult none = run_requests(setup, stub, requests_of(21), Arrival::kTogether);
  expect_same(none);
  EXPECT_GT(none.stats.preemptions, 0u);
  EXPECT_EQ(none.stats.swaps_out, 0u);
}

// Copies cost nothing by the manual clock and rows do: auto copies; where rows cost nothing known, it does not.
TEST(Swap, AutoAsksWhatBothCost) {
  for (const double row_seconds : {0.001, 0.0}) {
    ManualClock clock;
    EngineSetup setup;
    setup.clock = &clock;
    setup.num_blocks = 32;
    setup.options.prefix_caching = false;
    setup.options.preemption = PreemptionMode::kAuto;
    setup.options.swap_space_bytes = 1 << 20;
    const auto timed = [&clock, row_seconds] {
      return std::make_unique<HookedModel>(
          stub(), [&clock, row_seconds](Model& inner, const ForwardInput& input, KvCache& cache, View2<float> logits) {
            clock.advance(row_seconds * static_cast<double>(input.tokens.size()));
            return inner.forward(input, cache, logits);
          });
    };
    const RunResult run = run_requests(setup, timed, requests_of(21), Arrival::kTogether);
    expect_same(run);
    EXPECT_GT(run.stats.preemptions, 0u);
    EXPECT_EQ(run.stats.swaps_out > 0, row_seconds > 0);
  }
}

// A step that fails after the blocks came back leaves the copy for the next try.
TEST(Swap, AFailedStepKeepsTheCopy) {
  EngineSetup setup;
  setup.num_blocks = 32;
  setup.options.prefix_caching = false;
  setup.options.preemption = PreemptionMode::kSwap;
  setup.options.swap_space_bytes = 1 << 20;
  auto failures = std::make_shared<std::atomic<int>>(0);
  const auto failing = [failures] {
    struct Seen {
      std::int32_t end = 0;  // position after its last row
      int step = 0;
    };
    auto seen = std::make_shared<std::map<std::uint64_t, Seen>>();
    auto step = std::make_shared<int>(0);
    return std::make_unique<HookedModel>(
        stub(), [failures, seen, step](Model& inner, const ForwardInput& input, KvCache& cache, View2<float> logits) {
          ++*step;
          // Seen here: a request that left out a step and goes on where it was has come back from its copy.
          for (std::size_t s = 0; s < input.seqs.size(); ++s) {
            Seen& last = (*seen)[input.requests[s]];
            const std::int32_t first = input.seqs[s].first_position;
            if (first > 0 && first == last.end && last.step < *step - 1 && failures->load() == 0) {
              ++*failures;
              return internal_error("planned");
            }
            last = {first + input.seqs[s].rows, *step};
          }
          return inner.forward(input, cache, logits);
        });
  };
  const RunResult run = run_requests(setup, failing, requests_of(21), Arrival::kTogether);
  expect_same(run);
  EXPECT_EQ(failures->load(), 1);
  EXPECT_GT(run.stats.swaps_in, 0u);
}

// The model waits until all are queued behind a first request; then the order of first tokens is the policy's.
std::vector<std::uint64_t> order_of_ends(EngineSetup setup, const std::vector<Request>& requests) {
  std::promise<void> all_queued;
  auto start = all_queued.get_future().share();
  auto engine = engine_of(setup, std::make_unique<HookedModel>(stub(), [start](Model& inner, const ForwardInput& input,
                                                                               KvCache& cache, View2<float> logits) {
                            start.wait();
                            return inner.forward(input, cache, logits);
                          }));
  struct Order {
    std::mutex mutex;
    std::vector<std::uint64_t> ends;
  };
  auto order = std::make_shared<Order>();
  class Sink final : public EventSink {
   public:
    explicit Sink(std::shared_ptr<Order> order) : order_(std::move(order)) {}
    void on_event(TokenEvent event) override {
      std::lock_guard lock(order_->mutex);
      if (event.finish) order_->ends.push_back(event.request.value);
    }

   private:
    std::shared_ptr<Order> order_;
  };
  for (const Request& request : requests) EXPECT_TRUE(engine->submit(request, std::make_shared<Sink>(order)).ok());
  all_queued.set_value();
  EXPECT_TRUE(wait_idle(*engine));
  std::lock_guard lock(order->mutex);
  return order->ends;
}

Request plain(std::uint64_t id, std::int32_t prompt, std::int32_t output) {
  Request request = make_request(id, random_prompt(id, prompt), output);
  request.sampling.ignore_eos = true;
  return request;
}

TEST(Policies, PriorityIsServedFirst) {
  EngineSetup setup;
  setup.options.max_num_seqs = 1;
  std::vector<Request> requests;
  for (std::uint64_t id = 1; id <= 4; ++id) requests.push_back(plain(id, 4, 4));
  requests[1].priority = 3;
  requests[3].priority = -2;
  setup.options.policy.kind = PolicyKind::kFcfs;
  EXPECT_EQ(order_of_ends(setup, requests), (std::vector<std::uint64_t>{1, 2, 3, 4}));
  setup.options.policy.kind = PolicyKind::kPriority;
  EXPECT_EQ(order_of_ends(setup, requests), (std::vector<std::uint64_t>{4, 1, 3, 2}));
}

TEST(Policies, MlfqEndsShortWorkFirst) {
  EngineSetup setup;
  setup.options.max_num_seqs = 1;
  setup.options.policy.mlfq = {6, 8, 1000};
  const std::vector<Request> requests = {plain(1, 4, 60), plain(2, 24, 4), plain(3, 2, 3)};
  setup.options.policy.kind = PolicyKind::kFcfs;
  EXPECT_EQ(order_of_ends(setup, requests), (std::vector<std::uint64_t>{1, 2, 3}));
  setup.options.policy.kind = PolicyKind::kMlfq;
  EXPECT_EQ(order_of_ends(setup, requests), (std::vector<std::uint64_t>{3, 2, 1}));
}

// Two clients, interleaved, each with a prefix of its own, one longer: dlpm keeps those of one prefix together, within
// the client's credit.
TEST(Policies, DlpmKeepsPrefixesTogetherAndClientsEven) {
  EngineSetup setup;
  setup.options.max_num_seqs = 1;
  setup.options.policy.dlpm = {12, 1, 0, 16};
  std::vector<Request> requests;
  for (std::uint64_t id = 1; id <= 12; ++id) {
    Request request = plain(id, 1, 1);
    request.client = 1 + id % 2;
    request.prompt = random_prompt(900 + request.client, id % 2 == 0 ? 16 : 32);
    for (Token token : random_prompt(id, 3)) request.prompt.push_back(token);
    requests.push_back(request);
  }
  setup.options.policy.kind = PolicyKind::kDlpm;
  const std::vector<std::uint64_t> ends = order_of_ends(setup, requests);
  ASSERT_EQ(ends.size(), 12u);
  std::string shown;
  for (std::uint64_t id : ends) shown += std::to_string(id) + " ";
  int changes = 0;
  for (std::size_t i = 1; i < ends.size(); ++i) changes += ends[i] % 2 != ends[i - 1] % 2 ? 1 : 0;
  EXPECT_LT(changes, 9) << "fcfs changes 11 times: " << shown;
  EXPECT_GT(changes, 1) << "one client does not have it all";
}

// A step takes 1 ms a row. A sequence that decodes waits, after some steps, until a long prompt is queued beside it.
struct Timed {
  ManualClock clock;
  std::promise<void> prompted;
  std::atomic<std::int32_t> widest{0};  // rows of a step with a decode row in it
  std::atomic<int> steps{0};
};

std::unique_ptr<Model> timed_stub(Timed& timed) {
  auto start = timed.prompted.get_future().share();
  return std::make_unique<HookedModel>(
      stub(), [&timed, start](Model& inner, const ForwardInput& input, KvCache& cache, View2<float> logits) {
        if (++timed.steps == 5) start.wait();
        const auto rows = static_cast<std::int32_t>(input.tokens.size());
        timed.clock.advance(0.001 * rows);
        const bool decodes = input.requests[0] == 1 && input.seqs[0].rows == 1;
        if (decodes) timed.widest = std::max(timed.widest.load(), rows);
        return inner.forward(input, cache, logits);
      });
}

TEST(TargetItl, PromptsAreCutByWhatStepsTake) {
  std::vector<std::vector<Token>> answers;
  for (const double target : {0.0, 0.020}) {
    Timed timed;
    EngineSetup setup;
    setup.clock = &timed.clock;
    setup.options.max_num_batched_tokens = 256;
    setup.options.prefix_caching = false;
    setup.options.target_itl_seconds = target;
    auto engine = engine_of(setup, timed_stub(timed));
    auto decoding = std::make_shared<CollectSink>();
    auto prompted = std::make_shared<CollectSink>();
    ASSERT_TRUE(engine->submit(plain(1, 5, 60), decoding).ok());
    ASSERT_TRUE(decoding->wait_tokens(4));
    ASSERT_TRUE(engine->submit(plain(2, 200, 2), prompted).ok());
    timed.prompted.set_value();
    ASSERT_TRUE(prompted->wait_finished(1) && decoding->wait_finished(1));
    answers.push_back(decoding->log().tokens);
    answers.push_back(prompted->log().tokens);
    ASSERT_TRUE(wait_idle(*engine));
    if (target == 0) {
      EXPECT_EQ(timed.widest, 201);
    } else {
      EXPECT_LE(timed.widest, 20) << "20 ms at 1 ms a row";
      EXPECT_GT(timed.widest, 10);
      EXPECT_GT(engine->stats().chunked_prefills, 8u);
    }
  }
  EXPECT_EQ(answers[0], answers[2]);
  EXPECT_EQ(answers[1], answers[3]);
}

}  // namespace
}  // namespace foregate
