// The engine driven turn by turn: what happens in which step, which no clock and no other thread can change. A client
// that has gone is out of the batch within two steps, whatever its request was doing; after a failed step its sequences
// run alone (INV-12).
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "engine/runtime/engine_impl.h"
#include "tests/engine/runtime/harness.h"

namespace foregate {
namespace {

using namespace testing_support;

using Step = std::set<std::uint64_t>;  // the requests in it

// Runs the stub, notes who is in each step, and fails steps as it is told to.
struct Watched {
  std::shared_ptr<std::vector<Step>> steps = std::make_shared<std::vector<Step>>();
  std::function<Status(const Step&)> fails = [](const Step&) { return Status(); };
  std::unique_ptr<EngineImpl> engine;
  std::map<std::uint64_t, std::shared_ptr<CollectSink>> sinks;
  std::map<std::uint64_t, Request> requests;

  void start(EngineSetup setup) {
    static const Clock& clock = system_clock();
    setup.clock = &clock;
    auto model = std::make_unique<HookedModel>(
        std::make_unique<StubModel>(kVocab),
        [this](Model& inner, const ForwardInput& input, KvCache& cache, View2<float> logits) {
          steps->emplace_back(input.requests.begin(), input.requests.end());
          RETURN_IF_ERROR(fails(steps->back()));
          return inner.forward(input, cache, logits);
        });
    engine = std::make_unique<EngineImpl>(parts_of(setup, std::move(model)), Drive::kCaller);
  }
  void send(std::uint64_t id, std::int32_t prompt, std::int32_t max_tokens) {
    Request request = make_request(id, random_prompt(id, prompt), max_tokens);
    request.sampling.ignore_eos = true;
    sinks[id] = std::make_shared<CollectSink>();
    requests[id] = request;
    ASSERT_TRUE(engine->submit(request, sinks[id]).ok());
  }
  void run_out() {
    for (int turns = 0; !engine->idle(); ++turns) {
      ASSERT_LT(turns, 2000);
      engine->turn();
      ASSERT_TRUE(engine->audit().ok());
    }
  }
  void expect_whole(std::uint64_t id) {
    EXPECT_EQ(sinks.at(id)->log().finish, FinishReason::kLength);
    EXPECT_EQ(sinks.at(id)->log().tokens, expected_answer(requests.at(id), 0).tokens);
  }
};

EngineSetup small() {
  EngineSetup setup;
  setup.options.max_num_seqs = 3;
  setup.options.max_num_batched_tokens = 8;
  setup.num_blocks = 20;
  return setup;
}

// Cancelled before turn 0, 1, ... of a run in which it waits, computes its prompt in chunks, decodes, gives up its
// blocks and comes back.
TEST(Turns, WhoHasGoneIsOutOfTheBatchWithinTwoSteps) {
  std::set<std::string> moments;
  for (int at = 0; at < 60; ++at) {
    Watched run;
    run.start(small());
    for (std::uint64_t id : {1, 2, 3}) run.send(id, 12, 20);  // they do not fit beside one another to their ends
    for (int turn = 0; turn < at && !run.engine->idle(); ++turn) run.engine->turn();
    if (run.sinks[3]->log().finish) break;
    const auto before = run.engine->stats();
    moments.insert(run.sinks[3]->log().tokens.empty() ? "prompt" : "decode");
    if (before.preemptions > 0 && before.waiting > 0) moments.insert("preempted");
    if (at % 3 == 1) run.engine->set_paused(RequestId{3}, true);
    run.engine->cancel(RequestId{3});
    const std::size_t steps = run.steps->size();
    run.engine->turn();
    EXPECT_EQ(run.sinks[3]->log().finish, FinishReason::kCancelled);
    const std::size_t told = run.sinks[3]->log().tokens.size();
    run.run_out();
    for (std::size_t i = steps; i < run.steps->size(); ++i) EXPECT_FALSE((*run.steps)[i].contains(3)) << "turn " << at;
    EXPECT_EQ(run.sinks[3]->log().tokens.size(), told);
    EXPECT_EQ(run.engine->stats().kv_blocks_used, 0);
    run.expect_whole(1);
    run.expect_whole(2);
  }
  EXPECT_EQ(moments, (std::set<std::string>{"prompt", "decode", "preempted"}));
}

// A request that breaks every step it is in ends after two of them, and costs the others nothing but time.
TEST(Turns, AfterAFailedStepEachRunsAlone) {
  Watched run;
  run.fails = [](const Step& step) { return step.contains(2) ? internal_error("no") : Status(); };
  run.start(small());
  for (std::uint64_t id : {1, 2, 3}) run.send(id, 2, 6);
  run.engine->turn();
  ASSERT_EQ(run.steps->back(), (Step{1, 2, 3}));
  for (std::uint64_t id : {1, 2, 3}) {
    run.engine->turn();
    EXPECT_EQ(run.steps->back(), Step{id}) << "each suspect alone, the oldest first";
  }
  EXPECT_EQ(run.sinks[2]->log().finish, FinishReason::kError);
  EXPECT_EQ(run.sinks[2]->log().error.code(), Code::kInternal);
  run.engine->turn();
  EXPECT_EQ(run.steps->back(), (Step{1, 3})) << "and together again";
  run.run_out();
  run.expect_whole(1);
  run.expect_whole(3);
  EXPECT_EQ(run.engine->stats().failed, 1u);
  EXPECT_TRUE(run.engine->healthy());
}

// Whoever joins while a suspect has not proved itself waits for that.
TEST(Turns, NobodyJoinsASuspect) {
  Watched run;
  int failures = 0;
  run.fails = [&](const Step&) { return failures++ < 1 ? internal_error("once") : Status(); };
  run.start(small());
  run.send(1, 2, 4);
  run.engine->turn();
  run.send(2, 2, 4);
  run.engine->turn();
  EXPECT_EQ(run.steps->back(), Step{1});
  run.engine->turn();
  EXPECT_EQ(run.steps->back(), (Step{1, 2}));
  run.run_out();
  run.expect_whole(1);
  run.expect_whole(2);
}

TEST(Turns, AnEngineThatGoesTellsEverybody) {
  Watched run;
  run.start(small());
  for (std::uint64_t id : {1, 2, 3}) run.send(id, 12, 20);
  run.engine->turn();
  run.engine.reset();
  for (std::uint64_t id : {1, 2, 3}) EXPECT_EQ(run.sinks[id]->log().finish, FinishReason::kCancelled);
}

}  // namespace
}  // namespace foregate
