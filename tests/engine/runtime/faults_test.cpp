// Cancels, deadlines, pauses, drains, model errors and bad logits: every accepted sample gets exactly
// one finish, its neighbours do not notice, and all blocks come back.
#include <gtest/gtest.h>

#include <cmath>
#include <future>
#include <limits>

#include "tests/engine/runtime/harness.h"

namespace foregate {
namespace {

using namespace testing_support;

// Blocks every step after the first `free_steps` until open() is called.
class Gate {
 public:
  explicit Gate(int free_steps) : left_(free_steps) {}
  void pass() {
    std::unique_lock lock(mutex_);
    if (left_-- > 0) return;
    held_ = true;
    changed_.notify_all();
    changed_.wait(lock, [this] { return open_; });
  }
  void wait_held() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return held_; });
  }
  void open() {
    std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int left_;
  bool held_ = false;
  bool open_ = false;
};

std::unique_ptr<Model> gated_model(std::shared_ptr<Gate> gate) {
  return std::make_unique<HookedModel>(
      std::make_unique<StubModel>(kVocab),
      [gate](Model& inner, const ForwardInput& input, KvCache& cache, View2<float> logits) {
        gate->pass();
        return inner.forward(input, cache, logits);
      });
}

bool holds_token(const ForwardInput& input, Token token) {
  return std::find(input.tokens.begin(), input.tokens.end(), token) != input.tokens.end();
}

Request long_request(std::uint64_t id, std::int32_t max_tokens = 400) {
  Request request = make_request(id, random_prompt(id, 6), max_tokens);
  request.sampling.ignore_eos = true;
  return request;
}

void expect_one_finish(const SampleLog& log, FinishReason reason) {
  EXPECT_EQ(log.finishes, 1);
  EXPECT_EQ(log.events_after_finish, 0);
  ASSERT_TRUE(log.finish.has_value());
  EXPECT_EQ(*log.finish, reason) << log.error.to_string();
}

void expect_prefix(const SampleLog& log, const Request& request, std::int32_t index = 0) {
  const auto want = expected_answer(request, index).tokens;
  ASSERT_LE(log.tokens.size(), want.size());
  EXPECT_TRUE(std::equal(log.tokens.begin(), log.tokens.end(), want.begin()));
}

TEST(Faults, CancelWhileQueuedInPrefillAndInDecode) {
  EngineSetup setup;
  setup.options.max_num_seqs = 1;
  setup.options.max_num_batched_tokens = 4;
  auto gate = std::make_shared<Gate>(1);  // the first chunk of the first prompt passes
  auto engine = engine_of(setup, gated_model(gate));
  auto running = std::make_shared<CollectSink>();
  auto queued = std::make_shared<CollectSink>();
  auto last = std::make_shared<CollectSink>();
  const Request first = make_request(1, random_prompt(1, 30), 50);
  ASSERT_TRUE(engine->submit(first, running).ok());
  gate->wait_held();  // in the middle of the prompt
  ASSERT_TRUE(engine->submit(long_request(2), queued).ok());
  ASSERT_TRUE(engine->submit(long_request(3, 20), last).ok());
  engine->cancel(RequestId{1});
  engine->cancel(RequestId{2});
  engine->cancel(RequestId{777});  // unknown: ignored
  gate->open();
  ASSERT_TRUE(last->wait_finished(1));
  expect_one_finish(running->log(), FinishReason::kCancelled);
  EXPECT_TRUE(running->log().tokens.empty());
  expect_one_finish(queued->log(), FinishReason::kCancelled);
  EXPECT_TRUE(queued->log().tokens.empty());
  expect_one_finish(last->log(), FinishReason::kLength);
  EXPECT_EQ(last->log().tokens, expected_answer(long_request(3, 20), 0).tokens);

  ASSERT_TRUE(wait_idle(*engine));
  auto decoding = std::make_shared<CollectSink>();
  ASSERT_TRUE(engine->submit(long_request(4), decoding).ok());
  ASSERT_TRUE(decoding->wait_tokens(3));
  engine->cancel(RequestId{4});
  engine->cancel(RequestId{4});
  ASSERT_TRUE(decoding->wait_finished(1));
  if (decoding->log().tokens.size() < 400) expect_one_finish(decoding->log(), FinishReason::kCancelled);
  expect_prefix(decoding->log(), long_request(4));
  ASSERT_TRUE(wait_idle(*engine));
  EXPECT_EQ(engine->stats().kv_blocks_used, 0);
}

TEST(Faults, CancelOfOneIndexLeavesTheOthers) {
  auto gate = std::make_shared<Gate>(3);
  auto engine = engine_of(EngineSetup(), gated_model(gate));
  Request request = long_request(1, 30);
  request.n = 3;
  request.sampling.temperature = 1.0f;
  request.sampling.seed = 4;
  auto sink = std::make_shared<CollectSink>();
  ASSERT_TRUE(engine->submit(request, sink).ok());
  gate->wait_held();
  engine->cancel(RequestId{1}, 1);
  engine->cancel(RequestId{1}, 9);
  engine->cancel(RequestId{1}, -1);
  gate->open();
  ASSERT_TRUE(sink->wait_finished(3));
  expect_one_finish(sink->log(0), FinishReason::kLength);
  expect_one_finish(sink->log(1), FinishReason::kCancelled);
  expect_one_finish(sink->log(2), FinishReason::kLength);
  EXPECT_LE(sink->log(1).tokens.size(), 4u);  // the step under way may still end
  expect_prefix(sink->log(1), request, 1);
  EXPECT_EQ(sink->log(2).tokens, expected_answer(request, 2).tokens);
}

TEST(Faults, QueueIsBoundedAndCountsSamples) {
  EngineSetup setup;
  setup.options.max_num_seqs = 2;
  setup.options.max_num_queued_reqs = 3;
  auto gate = std::make_shared<Gate>(0);
  auto engine = engine_of(setup, gated_model(gate));
  auto sink = std::make_shared<CollectSink>();
  Request pair = long_request(1, 4);
  pair.n = 4;
  ASSERT_TRUE(engine->submit(pair, sink).ok());
  Request two = long_request(2, 4);
  two.n = 2;
  EXPECT_EQ(engine->submit(two, sink).code(), Code::kResourceExhausted);
  ASSERT_TRUE(engine->submit(long_request(3, 4), sink).ok());
  const Status full = engine->submit(long_request(4, 4), sink);
  EXPECT_EQ(full.code(), Code::kResourceExhausted);
  EXPECT_NE(full.message().find("5 of 5"), std::string::npos) << full.message();
  Request six = long_request(5, 4);
  six.n = 6;  // never fits
  EXPECT_EQ(engine->submit(six, sink).code(), Code::kInvalidArgument);
  EXPECT_EQ(engine->submit(long_request(1, 4), sink).code(), Code::kInvalidArgument) << "an id that is live";
  EXPECT_EQ(engine->stats().refused, 4u);
  EXPECT_EQ(engine->stats().waiting + engine->stats().running, 5);
  gate->open();
  ASSERT_TRUE(sink->wait_finished(5));
  ASSERT_TRUE(wait_idle(*engine));
  EXPECT_TRUE(engine->submit(long_request(6, 4), sink).ok());
  EXPECT_TRUE(sink->wait_finished(6));
}

TEST(Faults, PausedKeepsItsPlaceAndResumesByteEqual) {
  auto gate = std::make_shared<Gate>(3);
  auto engine = engine_of(EngineSetup(), gated_model(gate));
  auto paused = std::make_shared<CollectSink>();
  ASSERT_TRUE(engine->submit(long_request(1), paused).ok());
  gate->wait_held();
  engine->set_paused(RequestId{1}, true);
  gate->open();
  auto other = std::make_shared<CollectSink>();
  ASSERT_TRUE(engine->submit(long_request(2, 100), other).ok());
  ASSERT_TRUE(other->wait_finished(1));
  EXPECT_EQ(paused->log().tokens.size(), 4u);  // three steps, and the one that was under way
  EXPECT_FALSE(engine->idle());
  EXPECT_TRUE(engine->healthy());
  EXPECT_EQ(engine->stats().paused, 1);
  EXPECT_GT(engine->stats().kv_blocks_used, 0);
  engine->set_paused(RequestId{1}, false);
  ASSERT_TRUE(paused->wait_finished(1));
  EXPECT_EQ(paused->log().tokens, expected_answer(long_request(1), 0).tokens);
  EXPECT_EQ(engine->stats().preemptions, 0u);
}

TEST(Faults, PausedSequencesGiveWayWhenTheyHoldAllBlocks) {
  EngineSetup setup;
  setup.num_blocks = 40;  // 160 positions
  auto engine = stub_engine(setup);
  std::vector<std::shared_ptr<CollectSink>> stalled;
  for (std::uint64_t id = 1; id <= 3; ++id) {
    stalled.push_back(std::make_shared<CollectSink>());
    Request request = make_request(id, random_prompt(id, 50), 60);
    request.sampling.ignore_eos = true;
    ASSERT_TRUE(engine->submit(request, stalled.back()).ok());
    engine->set_paused(RequestId{id}, id % 2 == 1);
  }
  auto sink = std::make_shared<CollectSink>();
  Request request = make_request(9, random_prompt(9, 100), 61);  // needs all 40 blocks
  request.sampling.ignore_eos = true;
  ASSERT_TRUE(engine->submit(request, sink).ok());
  ASSERT_TRUE(sink->wait_finished(1));
  EXPECT_EQ(sink->log().tokens, expected_answer(request, 0).tokens);
  for (std::uint64_t id = 1; id <= 3; ++id) {
    engine->set_paused(RequestId{id}, false);
    ASSERT_TRUE(stalled[id - 1]->wait_finished(1));
    EXPECT_EQ(stalled[id - 1]->log().finish, FinishReason::kLength);
  }
}

TEST(Faults, CancelOfAPausedRequestEndsIt) {
  auto engine = stub_engine(EngineSetup());
  auto sink = std::make_shared<CollectSink>();
  ASSERT_TRUE(engine->submit(long_request(1), sink).ok());
  engine->set_paused(RequestId{1}, true);
  engine->cancel(RequestId{1});
  ASSERT_TRUE(sink->wait_finished(1));
  EXPECT_EQ(sink->log().finishes, 1);
  ASSERT_TRUE(wait_idle(*engine));
}

TEST(Faults, DeadlineEndsQueuedAndRunningWork) {
  ManualClock clock;
  EngineSetup setup;
  setup.clock = &clock;
  setup.options.max_num_seqs = 1;
  auto gate = std::make_shared<Gate>(2);
  auto engine = engine_of(setup, gated_model(gate));
  auto running = std::make_shared<CollectSink>();
  auto queued = std::make_shared<CollectSink>();
  Request first = long_request(1);
  first.deadline = clock.now() + 1'000'000'000;
  Request second = long_request(2);
  second.deadline = first.deadline;
  ASSERT_TRUE(engine->submit(first, running).ok());
  ASSERT_TRUE(engine->submit(second, queued).ok());
  gate->wait_held();
  clock.advance(2.0);
  gate->open();
  ASSERT_TRUE(running->wait_finished(1));
  ASSERT_TRUE(queued->wait_finished(1));
  for (const auto& sink : {running, queued}) {
    expect_one_finish(sink->log(), FinishReason::kError);
    EXPECT_EQ(sink->log().error.code(), Code::kDeadlineExceeded);
  }
  EXPECT_LE(running->log().tokens.size(), 3u);
  EXPECT_TRUE(queued->log().tokens.empty());
}

TEST(Faults, ALongStepIsUnhealthyABusyEngineIsNot) {
  ManualClock clock;
  EngineSetup setup;
  setup.clock = &clock;
  setup.options.step_limit_seconds = 5.0;
  auto gate = std::make_shared<Gate>(1);
  auto engine = engine_of(setup, gated_model(gate));
  EXPECT_TRUE(engine->healthy());
  auto sink = std::make_shared<CollectSink>();
  ASSERT_TRUE(engine->submit(long_request(1, 50), sink).ok());
  gate->wait_held();
  EXPECT_TRUE(engine->healthy());
  clock.advance(4.9);
  EXPECT_TRUE(engine->healthy());
  clock.advance(0.2);
  EXPECT_FALSE(engine->healthy());
  gate->open();
  ASSERT_TRUE(sink->wait_finished(1));
  EXPECT_TRUE(engine->healthy());
  clock.advance(1000.0);  // nothing to do is not a stall
  ASSERT_TRUE(wait_idle(*engine));
  for (int i = 0; i < 1000 && !engine->healthy(); ++i) std::this_thread::yield();
  EXPECT_TRUE(engine->healthy());
}

TEST(Faults, DrainRefusesNewWorkAndFinishesOld) {
  auto gate = std::make_shared<Gate>(1);
  auto engine = engine_of(EngineSetup(), gated_model(gate));
  auto sink = std::make_shared<CollectSink>();
  ASSERT_TRUE(engine->submit(long_request(1, 30), sink).ok());
  gate->wait_held();
  engine->begin_drain();
  EXPECT_EQ(engine->submit(long_request(2), sink).code(), Code::kUnavailable);
  EXPECT_FALSE(engine->idle());
  gate->open();
  ASSERT_TRUE(sink->wait_finished(1));
  EXPECT_EQ(sink->log().tokens, expected_answer(long_request(1, 30), 0).tokens);
  EXPECT_TRUE(wait_idle(*engine));
}

TEST(Faults, DestructionEndsEverySample) {
  std::vector<std::shared_ptr<CollectSink>> sinks;
  {
    EngineSetup setup;
    setup.options.max_num_seqs = 2;
    auto engine = stub_engine(setup);
    for (std::uint64_t id = 1; id <= 20; ++id) {
      sinks.push_back(std::make_shared<CollectSink>());
      Request request = long_request(id);
      request.n = 2;
      ASSERT_TRUE(engine->submit(request, sinks.back()).ok());
    }
    engine->set_paused(RequestId{1}, true);
    ASSERT_TRUE(sinks[1]->wait_tokens(1));
  }
  for (const auto& sink : sinks) {
    for (std::int32_t index = 0; index < 2; ++index) {
      EXPECT_EQ(sink->log(index).finishes, 1);
      EXPECT_EQ(sink->log(index).events_after_finish, 0);
    }
  }
}

TEST(Faults, NonFiniteLogitsEndOnlyTheirRequest) {
  constexpr Token kPoison = 63;
  const auto poisoned = [](Model& inner, const ForwardInput& input, KvCache& cache, View2<float> logits) {
    RETURN_IF_ERROR(inner.forward(input, cache, logits));
    for (std::size_t i = 0; i < input.logit_rows.size(); ++i) {
      const auto row = static_cast<std::size_t>(input.logit_rows[i]);
      float* values = logits.data + static_cast<std::int64_t>(i) * logits.stride;
      values[kPoison] = -100.0f;  // nobody generates it by chance
      if (input.tokens[row] == kPoison) values[5] = std::numeric_limits<float>::quiet_NaN();
    }
    return Status();
  };
  auto engine = engine_of(EngineSetup(), std::make_unique<HookedModel>(std::make_unique<StubModel>(kVocab), poisoned));
  auto good = std::make_shared<CollectSink>();
  auto bad = std::make_shared<CollectSink>();
  ASSERT_TRUE(engine->submit(make_request(1, {1, 2, 3}, 30), good).ok());
  ASSERT_TRUE(engine->submit(make_request(2, {1, 2, kPoison}, 30), bad).ok());
  ASSERT_TRUE(good->wait_finished(1));
  ASSERT_TRUE(bad->wait_finished(1));
  expect_one_finish(bad->log(), FinishReason::kError);
  EXPECT_TRUE(bad->log().tokens.empty());
  EXPECT_NE(good->log().finish, FinishReason::kError);
  ASSERT_TRUE(wait_idle(*engine));
  EXPECT_EQ(engine->stats().nonfinite_rows, 1u);
  EXPECT_EQ(engine->stats().failed, 1u);
  EXPECT_EQ(engine->stats().kv_blocks_used, 0);
}

TEST(Faults, AFailedStepIsRepeatedAndTheCulpritEndsAlone) {
  constexpr Token kPoison = 63;
  const auto failing = [](Model& inner, const ForwardInput& input, KvCache& cache, View2<float> logits) {
    if (holds_token(input, kPoison)) return internal_error("a kernel broke");
    return inner.forward(input, cache, logits);
  };
  auto gate = std::make_shared<Gate>(0);
  EngineSetup setup;
  setup.limits.vocab_size = kVocab;
  auto engine = engine_of(setup, std::make_unique<HookedModel>(gated_model(gate), failing));
  std::vector<std::shared_ptr<CollectSink>> sinks;
  std::vector<Request> requests;
  for (std::uint64_t id = 1; id <= 5; ++id) {
    Request request = make_request(id, random_prompt(id, 5, 60), 20);
    request.sampling.logit_bias = {{kPoison, -100.0f}};
    if (id == 3) request.prompt[2] = kPoison;
    sinks.push_back(std::make_shared<CollectSink>());
    requests.push_back(request);
  }
  ASSERT_TRUE(engine->submit(long_request(99, 5), std::make_shared<CollectSink>()).ok());
  gate->wait_held();  // the five arrive together
  for (std::size_t i = 0; i < 5; ++i) ASSERT_TRUE(engine->submit(requests[i], sinks[i]).ok());
  gate->open();
  for (std::size_t i = 0; i < 5; ++i) {
    ASSERT_TRUE(sinks[i]->wait_finished(1));
    if (i == 2) {
      expect_one_finish(sinks[i]->log(), FinishReason::kError);
      EXPECT_NE(sinks[i]->log().error.message().find("a kernel broke"), std::string::npos);
    } else {
      EXPECT_EQ(sinks[i]->log().tokens, expected_answer(requests[i], 0).tokens) << i;
    }
  }
  EXPECT_TRUE(engine->healthy());
  ASSERT_TRUE(wait_idle(*engine));
  EXPECT_EQ(engine->stats().kv_blocks_used, 0);
}

TEST(Faults, AnEngineWhoseStepsAllFailSaysSo) {
  const auto failing = [](Model&, const ForwardInput&, KvCache&, View2<float>) -> Status {
    throw std::runtime_error("out of order");
  };
  EngineSetup setup;
  setup.options.max_fatal_steps = 4;
  auto engine = engine_of(setup, std::make_unique<HookedModel>(std::make_unique<StubModel>(kVocab), failing));
  auto sink = std::make_shared<CollectSink>();
  int accepted = 0;
  for (std::uint64_t id = 1; id <= 40; ++id) accepted += engine->submit(long_request(id), sink).ok() ? 1 : 0;
  ASSERT_TRUE(sink->wait_finished(accepted));
  ASSERT_TRUE(wait_idle(*engine));
  EXPECT_FALSE(engine->healthy());
  EXPECT_EQ(sink->log().finish, FinishReason::kError);
  EXPECT_EQ(engine->submit(long_request(99), sink).code(), Code::kUnavailable);
  EXPECT_EQ(engine->stats().kv_blocks_used, 0);
}

}  // namespace
}  // namespace foregate
