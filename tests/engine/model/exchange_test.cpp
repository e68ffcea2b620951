// Experts shared among ranks: the same bytes as one rank, for any number of them, any plan, any step; and ranks that
// are gone, late or talk nonsense.
#include <gtest/gtest.h>

#include "tests/engine/model/driver.h"
#include "tests/engine/model/rank_plans.h"
#include "tests/engine/model/thread_ranks.h"

namespace foregate {
namespace {

std::vector<Token> some_tokens(int count, int vocab, int salt) {
  std::vector<Token> tokens;
  for (int i = 0; i < count; ++i) tokens.push_back(static_cast<Token>((i * 37 + salt * 11 + 3) % vocab));
  return tokens;
}

// Two prompts in one step, one of them in chunks, then steps of both together.
Rows all_steps(Driver& driver) {
  const int vocab = driver.model().vocab_size();
  Rows all = driver.run(some_tokens(23, vocab, 1), 7);
  driver.reset();
  const int a = driver.add_sequence(), b = driver.add_sequence();
  const auto add = [&](const std::vector<Driver::Part>& parts) {
    for (auto& row : driver.step(parts)) all.push_back(std::move(row));
  };
  add({{a, some_tokens(11, vocab, 2)}, {b, some_tokens(4, vocab, 3)}});
  add({{b, some_tokens(5, vocab, 4)}, {a, some_tokens(1, vocab, 5)}});
  for (int i = 0; i < 3; ++i) add({{a, some_tokens(1, vocab, 6 + i)}, {b, some_tokens(1, vocab, 9 + i)}});
  return all;
}

TEST(Exchange, AnyNumberOfRanksGivesTheBytesOfOne) {
  for (const char* name : {"qwen3-moe-top4-norm", "qwen2-moe-shared-top4", "pregated-top2-norm",
                           "qwen3-moe-dense-layers", "smallthinker-sigmoid-layouts"}) {
    const std::string dir = golden_dir(name);
    Driver alone(dir, {.isa = "auto", .threads = 2});
    const Rows want = all_steps(alone);
    for (std::int32_t count = 1; count <= 4; ++count) {
      for (const bool linear : {true, false}) {
        ThreadRanks ranks(dir, plan_for(dir, count, linear), "auto");
        Driver driver(dir, {.isa = "auto", .ranks = &ranks});
        EXPECT_TRUE(same_bytes(all_steps(driver), want)) << name << ", " << count << " ranks, linear " << linear;
        EXPECT_TRUE(ranks.dropped().empty());
        EXPECT_EQ(ranks.crossed().rows > 0, count > 1);
        EXPECT_EQ(ranks.crossed().bytes > 0, count > 1);
      }
    }
  }
}

// A rank has the experts that the plan gives it and none of the rest.
TEST(Exchange, ARankLoadsItsOwnExpertsOnly) {
  const std::string dir = golden_dir("qwen3-moe-top4-norm");
  Driver alone(dir, {});
  ThreadRanks ranks(dir, plan_for(dir, 2, true), "ref");
  Driver first(dir, {.ranks = &ranks});
  std::int64_t held = 0;
  for (std::int32_t l = 0; l < alone.model().weights().experts.layers(); ++l) {
    for (std::int32_t e = 0; e < alone.model().weights().experts.experts(LayerId{l}); ++e) {
      const ExpertKey key{LayerId{l}, ExpertId{e}};
      const bool here = first.model().weights().experts.get(key).gate.data != nullptr;
      const bool there = ranks.experts(RankId{1}).weights().experts.get(key).gate.data != nullptr;
      EXPECT_NE(here, there);
      EXPECT_EQ(here, ranks.plan().holds(RankId{0}, key.layer, key.expert));
      ++held;
    }
  }
  EXPECT_GT(held, 0);
  EXPECT_LT(first.model().weight_bytes(), alone.model().weight_bytes());
  EXPECT_EQ(ranks.experts(RankId{1}).weights().embedding.data, nullptr);
}

// What rank 0 has a copy of does not travel.
TEST(Exchange, ACopyOnRankZeroIsUsed) {
  const std::string dir = golden_dir("qwen3-moe-top4-norm");
  const PlacementPlan plain = plan_for(dir, 2, true);
  std::vector<ExpertCopy> copies;
  for (std::size_t l = 0; l < plain.layers(); ++l) {
    const LayerId layer{static_cast<std::int32_t>(l)};
    for (const std::int32_t e : plain.held(RankId{1}, layer)) copies.push_back({layer, ExpertId{e}, RankId{0}});
  }
  auto plan = PlacementPlan::create(2, plain.homes(), copies);
  ASSERT_TRUE(plan.ok());
  ThreadRanks ranks(dir, *plan, "ref");
  Driver alone(dir, {}), driver(dir, {.ranks = &ranks});
  EXPECT_TRUE(same_bytes(all_steps(driver), all_steps(alone)));
  EXPECT_EQ(ranks.crossed().bytes, 0u);
}

// Of copies on other ranks the one with less to do is used; which one does not show.
TEST(Exchange, ACopyOnAnotherRankTakesItsPart) {
  const std::string dir = golden_dir("qwen3-moe-top4-norm");
  const PlacementPlan plain = plan_for(dir, 3, true);
  std::vector<ExpertCopy> copies;
  for (std::size_t l = 0; l < plain.layers(); ++l) {
    const LayerId layer{static_cast<std::int32_t>(l)};
    for (const std::int32_t e : plain.held(RankId{1}, layer)) copies.push_back({layer, ExpertId{e}, RankId{2}});
  }
  auto plan = PlacementPlan::create(3, plain.homes(), copies);
  ASSERT_TRUE(plan.ok());
  ThreadRanks with(dir, *plan, "ref"), without(dir, plain, "ref");
  Driver alone(dir, {}), driver(dir, {.ranks = &with}), other(dir, {.ranks = &without});
  const Rows want = all_steps(alone);
  EXPECT_TRUE(same_bytes(all_steps(driver), want));
  EXPECT_TRUE(same_bytes(all_steps(other), want));
  EXPECT_NE(with.crossed().rows, without.crossed().rows) << "rows went elsewhere";
}

TEST(Exchange, APlanOfAnotherModelIsRefused) {
  const std::string dir = golden_dir("qwen3-moe-top4-norm");
  const auto model = open_model(local_files(), dir);
  ASSERT_TRUE(model.ok());
  auto experts = experts_of(dir);
  experts.back() += 1;
  EXPECT_EQ(check_plan_fits(*PlacementPlan::linear(2, experts), model->config).field(), "placement");
  experts.pop_back();
  EXPECT_EQ(check_plan_fits(*PlacementPlan::linear(2, experts), model->config).field(), "placement");
}

class BrokenRanks : public ::testing::Test {
 protected:
  BrokenRanks() : ranks_(dir_, plan_for(dir_, 3, false), "ref"), driver_(dir_, {.ranks = &ranks_}) {}

  Result<Rows> run() { return driver_.try_run(some_tokens(9, driver_.model().vocab_size(), 1), 9); }

  // The step fails and names the rank; once the rank is back, the next gives the right bytes.
  void fails_and_recovers(Code dropped_for) {
    const auto broken = run();
    ASSERT_FALSE(broken.ok());
    EXPECT_EQ(broken.status().code(), Code::kUnavailable);
    EXPECT_NE(broken.status().message().find("rank 2"), std::string::npos) << broken.status().message();
    ASSERT_EQ(ranks_.dropped().count(RankId{2}), 1u);
    EXPECT_EQ(ranks_.dropped().at(RankId{2}).code(), dropped_for);
    EXPECT_EQ(ranks_.dropped().size(), 1u);
    EXPECT_EQ(run().status().code(), Code::kUnavailable) << "as long as it is gone";
    ranks_.set_deadline(kNoDeadline);
    ranks_.replace(RankId{2}, nullptr);
    Driver alone(dir_, {});
    const auto again = run();
    ASSERT_TRUE(again.ok()) << again.status().to_string();
    EXPECT_TRUE(same_bytes(again.value(), *alone.try_run(some_tokens(9, driver_.model().vocab_size(), 1), 9)));
  }

  const std::string dir_ = golden_dir("qwen3-moe-top4-norm");
  ThreadRanks ranks_;
  Driver driver_;
};

TEST_F(BrokenRanks, ADeadRankFailsTheStep) {
  auto [near, far] = memory_line();
  far->close();
  ranks_.replace(RankId{2}, std::move(near));
  fails_and_recovers(Code::kUnavailable);
}

TEST_F(BrokenRanks, AHungRankFailsTheStepAtTheDeadline) {
  auto [near, far] = memory_line();  // nobody reads at the far end
  ranks_.replace(RankId{2}, std::move(near));
  ranks_.set_deadline(system_clock().now() + 1'000'000);
  // The others must not be late themselves: they answer before rank 2 is waited for, or are dropped too.
  const auto broken = run();
  ASSERT_FALSE(broken.ok());
  EXPECT_EQ(broken.status().code(), Code::kUnavailable);
  ASSERT_EQ(ranks_.dropped().count(RankId{2}), 1u);
  EXPECT_EQ(ranks_.dropped().at(RankId{2}).code(), Code::kDeadlineExceeded);
}

TEST_F(BrokenRanks, AnAnswerOfAnotherEpochOrSizeIsNoAnswer) {
  for (const bool epoch : {true, false}) {
    auto [near, far] = memory_line();
    RankLine* const peer = far.get();
    ranks_.replace(RankId{2}, std::move(near));
    std::thread liar([peer, epoch] {
      const auto asked = peer->receive({.most_bytes = 1 << 30}, kNoDeadline);
      if (asked.ok()) (void)peer->send(MessageKind::kOutputs, asked->epoch + (epoch ? 1 : 0), {}, kNoDeadline);
    });
    fails_and_recovers(Code::kDataLoss);
    liar.join();
  }
}

// A rank that is sent nonsense ends, and says why; it answers nothing.
TEST_F(BrokenRanks, ARankTakesNoNonsense) {
  const auto model = open_model(local_files(), dir_);
  std::string error;
  Backend backend = make_backend({.isa = "ref", .threads = 1}, &error);
  const auto stream = backend.device->create_stream();
  const PlacementPlan plan = plan_for(dir_, 2, true);
  auto experts = RankExperts::load(model.value(), plan, RankId{1}, *backend.device, backend.ops, *stream,
                                   {.max_batched_tokens = 8});
  ASSERT_TRUE(experts.ok());
  const std::int32_t mine = plan.held(RankId{1}, LayerId{0}).front();
  const auto hidden = static_cast<std::int64_t>(model.value().config.hidden_size);
  ExpertRows good;
  good.rows = 2;
  good.experts = {mine};
  good.group_rows = {2};
  good.drafted = {1};
  good.x_rows = {1, 0};
  good.stood = {{{0, mine}, {2, 1}}, {{mine}, {1}}};
  const auto end_of = [&](const ExpertRows& rows, std::size_t cut, MessageKind kind = MessageKind::kRows) {
    std::vector<std::byte> body;
    write_rows(rows, hidden, body);
    body.resize(body.size() - cut);
    auto [near, far] = memory_line();
    EXPECT_TRUE(near->send(kind, 1, body, kNoDeadline).ok());
    RankLine* const rank_end = far.get();
    Status ended;
    std::thread rank([&] {
      ended = (*experts)->serve(*rank_end);
      rank_end->close();
    });
    const auto answer = near->receive({.most_bytes = 1 << 20}, kNoDeadline);
    near->close();
    rank.join();
    return answer.ok() ? Code::kOk : ended.code();
  };
  const auto broken = [&](auto change) {
    ExpertRows rows = good;
    change(rows);
    return end_of(rows, 0);
  };
  EXPECT_EQ(end_of(good, 0), Code::kOk);
  EXPECT_EQ(end_of(good, 4), Code::kDataLoss);
  EXPECT_EQ(end_of(good, 0, MessageKind::kOutputs), Code::kDataLoss);
  EXPECT_EQ(broken([](ExpertRows& r) { r.layer = LayerId{99}; }), Code::kDataLoss);
  EXPECT_EQ(broken([](ExpertRows& r) { r.layer = LayerId{-1}; }), Code::kDataLoss);
  EXPECT_EQ(broken([](ExpertRows& r) { r.rows = 9; }), Code::kDataLoss);
  EXPECT_EQ(broken([&](ExpertRows& r) { r.experts = {0}; }), Code::kDataLoss) << "it is on rank 0";
  EXPECT_EQ(broken([](ExpertRows& r) { r.experts = {-1}; }), Code::kDataLoss);
  EXPECT_EQ(broken([](ExpertRows& r) { r.experts = {1 << 20}; }), Code::kDataLoss);
  EXPECT_EQ(broken([](ExpertRows& r) { r.group_rows = {1}; }), Code::kDataLoss);
  EXPECT_EQ(broken([](ExpertRows& r) { r.group_rows = {-2}; }), Code::kDataLoss);
  EXPECT_EQ(broken([](ExpertRows& r) { r.x_rows = {1, 2}; }), Code::kDataLoss);
  EXPECT_EQ(broken([](ExpertRows& r) { r.x_rows = {1, -1}; }), Code::kDataLoss);
  EXPECT_EQ(broken([mine](ExpertRows& r) {
              r.experts = {mine, mine};
              r.group_rows = {1, 1};
              r.drafted = {0, 0};
            }),
            Code::kDataLoss);
  EXPECT_EQ(broken([](ExpertRows& r) { r.drafted = {3}; }), Code::kDataLoss);
  EXPECT_EQ(broken([](ExpertRows& r) { r.drafted = {-1}; }), Code::kDataLoss);
  EXPECT_EQ(broken([](ExpertRows& r) { r.stood[0].experts = {1, 1}; }), Code::kDataLoss);
  EXPECT_EQ(broken([](ExpertRows& r) { r.stood[1].experts = {1 << 20}; }), Code::kDataLoss);
  EXPECT_EQ(broken([](ExpertRows& r) { r.stood[1].rows = {0}; }), Code::kDataLoss);
  EXPECT_EQ(broken([](ExpertRows& r) { r.stood[1] = {}; }), Code::kDataLoss);
  EXPECT_EQ(broken([](ExpertRows& r) { r.stood.resize(kMaxStoodPlaces + 1, {{0}, {1}}); }), Code::kDataLoss);
}

}  // namespace
}  // namespace foregate
