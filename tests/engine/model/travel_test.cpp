// Rows that go on where their experts are: the same bytes as one rank for any number of ranks, placements and types of
// cache, with fewer bytes between ranks where tokens belong to ranks; and ranks that are gone or talk nonsense.
#include <gtest/gtest.h>

#include <iostream>

#include "engine/model/row_messages.h"
#include "tests/engine/model/driver.h"
#include "tests/engine/model/planted_model.h"
#include "tests/engine/model/rank_plans.h"
#include "tests/engine/model/thread_ranks.h"

namespace foregate {
namespace {

constexpr auto kOne = ExchangeMode::kOneAllToAll;

// Rank 0 has the dense weights and no expert, where there are others: every row moves.
PlacementPlan plan_away(const std::string& dir, std::int32_t ranks) {
  std::vector<LayerHomes> homes;
  for (const std::int32_t experts : experts_of(dir)) {
    LayerHomes& layer = homes.emplace_back();
    for (std::int32_t e = 0; e < experts; ++e) layer.push_back(ranks == 1 ? 0 : 1 + (e + 1) % (ranks - 1));
  }
  auto plan = PlacementPlan::create(ranks, std::move(homes));
  CHECK(plan.ok());
  return std::move(plan).value();
}

Token token_of(int vocab, int salt, int i) {
  return static_cast<Token>((i * 37 + salt * 11 + i * i * 5 + 3) % vocab);
}

std::vector<Token> some_tokens(int count, int vocab, int salt) {
  std::vector<Token> tokens;
  for (int i = 0; i < count; ++i) tokens.push_back(token_of(vocab, salt, i));
  return tokens;
}

// Prompts in chunks, steps of all sequences, one that comes later, and one that rests meanwhile.
Rows all_steps(Driver& driver) {
  const int vocab = driver.model().vocab_size();
  driver.reset();
  Rows all;
  const auto add = [&](const std::vector<Driver::Part>& parts) {
    for (auto& row : driver.step(parts)) all.push_back(std::move(row));
  };
  const int a = driver.add_sequence(), b = driver.add_sequence(), c = driver.add_sequence();
  add({{a, some_tokens(11, vocab, 2)}, {b, some_tokens(4, vocab, 3)}});
  for (int i = 0; i < 7; ++i) add({{a, {token_of(vocab, 6, i)}}, {b, {token_of(vocab, 9, i)}}});
  add({{c, some_tokens(5, vocab, 4)}, {a, {token_of(vocab, 7, 1)}}});
  for (int i = 0; i < 4; ++i) add({{c, {token_of(vocab, 1, i)}}, {a, {token_of(vocab, 2, i)}}});
  for (int i = 0; i < 4; ++i)
    add({{b, {token_of(vocab, 3, i)}}, {c, {token_of(vocab, 4, i)}}, {a, {token_of(vocab, 5, i)}}});
  return all;
}

TEST(Travel, AnyNumberOfRanksGivesTheBytesOfOne) {
  for (const char* name : {"qwen3-moe-top4-norm", "qwen2-moe-shared-top4", "mixtral-gqa-top2",
                           "mixtral-window-top1-tied", "qwen3-moe-dense-layers", "olmoe-gqa-top3-norm"}) {
    const std::string dir = golden_dir(name);
    for (const char* isa : {"auto", "ref"}) {
      Driver alone(dir, {.isa = isa, .block_size = 4});
      const Rows want = all_steps(alone);
      for (std::int32_t count = 1; count <= (isa == std::string("ref") ? 2 : 4); ++count) {
        for (const char* placed : {"linear", "round-robin", "away"}) {
          const bool away = placed == std::string("away");
          const PlacementPlan plan =
              away ? plan_away(dir, count) : plan_for(dir, count, placed == std::string("linear"));
          ThreadRanks ranks(dir, plan, isa, 256, {}, local_files(), kOne);
          Driver driver(dir, {.isa = isa, .block_size = 4, .ranks = &ranks, .exchange = kOne});
          EXPECT_TRUE(same_bytes(all_steps(driver), want)) << name << ", " << count << " ranks, " << placed;
          EXPECT_TRUE(ranks.dropped().empty());
          EXPECT_EQ(ranks.crossed().one_all_to_all_steps, 15u);
          EXPECT_EQ(ranks.crossed().bytes > 0, count > 1) << name;
          if (!away) continue;
          EXPECT_EQ(ranks.crossed().moves > 0, count > 1) << name;
          EXPECT_EQ(ranks.crossed().context_bytes > 0, count > 1) << name;
        }
      }
    }
  }
}

TEST(Travel, KeysAndValuesOfEveryTypeAreCopiedAsTheyAre) {
  const std::string dir = golden_dir("mixtral-gqa-top2");
  for (const DType type : {DType::kF16, DType::kBF16, DType::kI8}) {
    Driver alone(dir, {.isa = "auto", .block_size = 20, .kv_type = type});
    ThreadRanks ranks(dir, plan_for(dir, 3, false), "auto", 256, {}, local_files(), kOne);
    Driver driver(dir, {.isa = "auto", .block_size = 20, .kv_type = type, .ranks = &ranks, .exchange = kOne});
    EXPECT_TRUE(same_bytes(all_steps(driver), all_steps(alone))) << dtype_name(type);
    EXPECT_GT(ranks.crossed().moves, 0u);
  }
}

// Experts that several ranks have are used where the row is.
TEST(Travel, ACopyKeepsARow) {
  const std::string dir = golden_dir("mixtral-gqa-top2");
  const PlacementPlan plain = plan_for(dir, 3, true);
  std::vector<ExpertCopy> copies;
  for (std::size_t l = 0; l < plain.layers(); ++l) {
    const LayerId layer{static_cast<std::int32_t>(l)};
    for (const std::int32_t e : plain.held(RankId{1}, layer)) copies.push_back({layer, ExpertId{e}, RankId{2}});
  }
  auto plan = PlacementPlan::create(3, plain.homes(), copies);
  ASSERT_TRUE(plan.ok());
  ThreadRanks with(dir, *plan, "auto", 256, {}, local_files(), kOne);
  Driver alone(dir, {.isa = "auto"}), driver(dir, {.isa = "auto", .ranks = &with, .exchange = kOne});
  EXPECT_TRUE(same_bytes(all_steps(driver), all_steps(alone)));
  EXPECT_GT(with.crossed().moves, 0u);
}

// What a block was before it was copied, zeroed or loaded is not attended to elsewhere.
TEST(Travel, ABlockThatChangedBetweenStepsIsCopiedAgain) {
  const std::string dir = golden_dir("mixtral-gqa-top2");
  ThreadRanks ranks(dir, plan_for(dir, 2, false), "auto", 256, {}, local_files(), kOne);
  Driver alone(dir, {.isa = "auto", .block_size = 4}),
      driver(dir, {.isa = "auto", .block_size = 4, .ranks = &ranks, .exchange = kOne});
  const auto steps = [](Driver& d) {
    d.reset();
    const int vocab = d.model().vocab_size(), a = d.add_sequence();
    d.step({{a, some_tokens(9, vocab, 1)}});
    for (int i = 0; i < 4; ++i) d.step({{a, {token_of(vocab, 2, i)}}});
    d.cache().zero_positions(BlockId{0}, 0, 4);  // the first block of the sequence
    Rows rows;
    for (int i = 0; i < 4; ++i) rows.push_back(d.step({{a, {token_of(vocab, 3, i)}}}).front());
    return rows;
  };
  EXPECT_TRUE(same_bytes(steps(driver), steps(alone)));
}

struct Bytes {
  double per_token = 0;
  Crossed crossed;
  Rows rows;
};

// `tokens` steps of eight sequences after short prompts; only those steps are counted.
Bytes decode_bytes(const PlantedModel& model, const PlacementPlan& plan, ExchangeMode mode, int tokens) {
  ThreadRanks ranks(PlantedModel::kDir, plan, "auto", 256, {}, model.files, mode);
  Driver driver(PlantedModel::kDir, {.isa = "auto", .files = &model.files, .ranks = &ranks, .exchange = mode});
  const int vocab = driver.model().vocab_size();
  std::vector<Driver::Part> parts;
  for (int s = 0; s < 8; ++s) parts.push_back({driver.add_sequence(), some_tokens(3, vocab, s)});
  driver.step(parts);
  const Crossed before = ranks.crossed();
  Bytes bytes;
  for (int i = 0; i < tokens; ++i) {
    for (int s = 0; s < 8; ++s) parts[static_cast<std::size_t>(s)].tokens = {token_of(vocab, s + 1, i)};
    for (auto& row : driver.step(parts)) bytes.rows.push_back(std::move(row));
  }
  bytes.crossed = ranks.crossed();
  bytes.per_token = static_cast<double>(bytes.crossed.bytes - before.bytes) / (8.0 * tokens);
  EXPECT_TRUE(ranks.dropped().empty());
  return bytes;
}

// One all-to-all sends at most 0.6 of the bytes of two where tokens belong to ranks.
TEST(Travel, TokensThatStaySendFewerBytes) {
  for (const std::int32_t top_k : {1, 2}) {
    for (const std::int32_t ranks : {2, 4}) {
      const PlantedModel model = planted_model({.top_k = top_k, .groups = ranks});
      auto plan = PlacementPlan::create(ranks, model.homes);
      ASSERT_TRUE(plan.ok());
      const Bytes two = decode_bytes(model, *plan, ExchangeMode::kTwoAllToAlls, 48);
      const Bytes one = decode_bytes(model, *plan, kOne, 48);
      EXPECT_TRUE(same_bytes(one.rows, two.rows));
      EXPECT_EQ(one.crossed.one_all_to_all_steps, 48u);
      std::cout << "top-" << top_k << ", " << ranks << " ranks: " << two.per_token << " bytes a token in two, "
                << one.per_token << " in one, " << one.per_token / two.per_token << '\n';
      EXPECT_LE(one.per_token, 0.6 * two.per_token) << "top-" << top_k << ", " << ranks << " ranks";
    }
  }
}

// By the bytes of late: one where tokens belong to ranks, two where the context of a row is larger than the row.
TEST(Travel, AutoTakesTheFormThatSendsLess) {
  const PlantedModel model = planted_model({.top_k = 1});
  auto planted = PlacementPlan::create(2, model.homes);
  const Bytes stays = decode_bytes(model, *planted, ExchangeMode::kAuto, 2 * kFormSteps + 1);
  EXPECT_EQ(stays.crossed.one_all_to_all_steps, static_cast<std::uint64_t>(kFormSteps + 1));
  const PlantedModel wide = planted_model({.top_k = 1, .heads = 1, .head_dim = 256});
  auto placed = PlacementPlan::create(2, wide.homes);
  const Bytes returns = decode_bytes(wide, *placed, ExchangeMode::kAuto, 2 * kFormSteps);
  EXPECT_EQ(returns.crossed.one_all_to_all_steps, 0u);
  EXPECT_GT(returns.crossed.rows, 0u);
}

TEST(Travel, ModelsWhoseRoutersRunEarlyAreRefused) {
  for (const char* name : {"pregated-top2-norm", "smallthinker-softmax"}) {
    const auto model = open_model(local_files(), golden_dir(name));
    ASSERT_TRUE(model.ok());
    EXPECT_EQ(RowTravel::check(model->config).field(), "exchange") << name;
  }
}

// The step fails and names the rank; once the rank is back, the next gives the right bytes.
TEST(Travel, ADeadRankFailsTheStepAndNothingElse) {
  const std::string dir = golden_dir("mixtral-gqa-top2");
  ThreadRanks ranks(dir, plan_for(dir, 3, false), "auto", 256, {}, local_files(), kOne);
  Driver alone(dir, {.isa = "auto"}), driver(dir, {.isa = "auto", .ranks = &ranks, .exchange = kOne});
  const Rows want = all_steps(alone);
  EXPECT_TRUE(same_bytes(all_steps(driver), want));
  auto [near, far] = memory_line();
  far->close();
  ranks.replace(RankId{2}, std::move(near));
  driver.reset();
  const auto broken = driver.try_run(some_tokens(12, driver.model().vocab_size(), 1), 1);
  ASSERT_FALSE(broken.ok());
  EXPECT_EQ(broken.status().code(), Code::kUnavailable);
  EXPECT_NE(broken.status().message().find("rank 2"), std::string::npos) << broken.status().message();
  EXPECT_EQ(ranks.dropped().size(), 1u);
  ranks.replace(RankId{2}, nullptr);
  EXPECT_TRUE(same_bytes(all_steps(driver), want));
  EXPECT_EQ(ranks.dropped().size(), 0u);
}

TEST(Travel, AHungRankFailsTheStepAtTheDeadline) {
  const std::string dir = golden_dir("mixtral-gqa-top2");
  ThreadRanks ranks(dir, plan_for(dir, 2, false), "auto", 256, {}, local_files(), kOne);
  Driver driver(dir, {.isa = "auto", .ranks = &ranks, .exchange = kOne});
  auto [near, far] = memory_line();  // nobody reads at the far end
  ranks.replace(RankId{1}, std::move(near));
  ranks.set_deadline(system_clock().now() + 50'000'000);
  const auto broken = driver.try_run(some_tokens(12, driver.model().vocab_size(), 1), 1);
  ASSERT_FALSE(broken.ok());
  ASSERT_EQ(ranks.dropped().count(RankId{1}), 1u);
  EXPECT_EQ(ranks.dropped().at(RankId{1}).code(), Code::kDeadlineExceeded);
}

// An answer to a layer that does not hold what is due ends the rank, not the server.
TEST(Travel, AnAnswerThatHoldsNothingIsNoAnswer) {
  const std::string dir = golden_dir("mixtral-gqa-top2");
  ThreadRanks ranks(dir, plan_for(dir, 2, false), "auto", 256, {}, local_files(), kOne);
  Driver driver(dir, {.isa = "auto", .ranks = &ranks, .exchange = kOne});
  auto [near, far] = memory_line();
  RankLine* const peer = far.get();
  ranks.replace(RankId{1}, std::move(near));
  std::thread liar([peer] {
    while (true) {
      const auto asked = peer->receive({.most_bytes = 1 << 30}, kNoDeadline);
      if (!asked.ok()) return;
      const bool layer = asked->kind == MessageKind::kLayer;
      if (!layer && asked->kind != MessageKind::kRows) continue;
      const std::vector<std::byte> body(layer ? 3 : 5);
      if (!peer->send(layer ? MessageKind::kLayerDone : MessageKind::kOutputs, asked->epoch, body, kNoDeadline).ok())
        return;
    }
  });
  const auto broken = driver.try_run(some_tokens(12, driver.model().vocab_size(), 1), 1);
  EXPECT_FALSE(broken.ok());
  const auto dropped = ranks.dropped();
  ranks.replace(RankId{1}, nullptr);
  peer->close();
  liar.join();
  ASSERT_EQ(dropped.count(RankId{1}), 1u);
  EXPECT_EQ(dropped.at(RankId{1}).code(), Code::kDataLoss);
}

class RowMessages : public ::testing::Test {
 protected:
  const RowLimits limits_{.max_rows = 4, .top_k = 2, .hidden = 3, .layers = 5, .blocks = 8, .block_size = 4};
  std::vector<std::byte> body_;

  Code join(auto change) {
    JoinRows join{.step = 7, .layer = LayerId{1}, .rows = {{2, 5, true, {1, 7}}}, .hidden = {1, 2, 3}};
    change(join);
    write_join(join, body_);
    JoinRows read;
    return read_join(body_, limits_, read).code();
  }
  Code layer(auto change) {
    LayerRows rows{.layer = LayerId{1},
                   .outputs = {{0, 1}},
                   .values = {1, 2, 3},
                   .context = {{7, 1, 3}},
                   .positions = std::vector<std::byte>(3 * 6)};
    change(rows);
    write_layer(rows, body_);
    LayerRows read;
    return read_layer(body_, limits_, 6, read).code();
  }
};

TEST_F(RowMessages, AreReadAsTheyWereWritten) {
  write_context({DType::kI8, 16, 100}, body_);
  const auto shape = read_context(body_);
  ASSERT_TRUE(shape.ok());
  EXPECT_EQ(shape->type, DType::kI8);
  EXPECT_EQ(shape->blocks, 100);
  body_.push_back({});
  EXPECT_EQ(read_context(body_).status().code(), Code::kDataLoss);
  write_context({DType::kI32, 16, 100}, body_);
  EXPECT_EQ(read_context(body_).status().code(), Code::kDataLoss);
  write_context({DType::kF32, 0, 100}, body_);
  EXPECT_EQ(read_context(body_).status().code(), Code::kDataLoss);
  EXPECT_EQ(join([](auto&) {}), Code::kOk);
  EXPECT_EQ(layer([](auto&) {}), Code::kOk);
  EXPECT_EQ(layer([](LayerRows& r) { r.layer = LayerId{5}; }), Code::kOk) << "the end";
}

TEST_F(RowMessages, ThatNameWhatIsNotThereAreRefused) {
  EXPECT_EQ(join([](JoinRows& j) { j.layer = LayerId{5}; }), Code::kDataLoss);
  EXPECT_EQ(join([](JoinRows& j) { j.layer = LayerId{-1}; }), Code::kDataLoss);
  EXPECT_EQ(join([](JoinRows& j) { j.rows[0].row = 4; }), Code::kDataLoss);
  EXPECT_EQ(join([](JoinRows& j) { j.rows[0].position = -1; }), Code::kDataLoss);
  EXPECT_EQ(join([](JoinRows& j) { j.rows[0].position = 8; }), Code::kDataLoss) << "of a third block";
  EXPECT_EQ(join([](JoinRows& j) { j.rows[0].blocks = {1}; }), Code::kDataLoss);
  EXPECT_EQ(join([](JoinRows& j) { j.rows[0].blocks = {1, 8}; }), Code::kDataLoss);
  EXPECT_EQ(join([](JoinRows& j) { j.rows.clear(); }), Code::kDataLoss);
  EXPECT_EQ(join([](JoinRows& j) { j.hidden.pop_back(); }), Code::kDataLoss);
  EXPECT_EQ(layer([](LayerRows& r) { r.layer = LayerId{6}; }), Code::kDataLoss);
  EXPECT_EQ(layer([](LayerRows& r) { r.values.push_back(1); }), Code::kDataLoss);
  EXPECT_EQ(layer([](LayerRows& r) { r.context[0].block = 8; }), Code::kDataLoss);
  EXPECT_EQ(layer([](LayerRows& r) { r.context[0].first = 2; }), Code::kDataLoss);
  EXPECT_EQ(layer([](LayerRows& r) { r.context[0].count = 0; }), Code::kDataLoss);
  EXPECT_EQ(layer([](LayerRows& r) { r.outputs.resize(9); }), Code::kDataLoss);
  EXPECT_EQ(layer([](LayerRows& r) { r.positions.pop_back(); }), Code::kDataLoss);
}

}  // namespace
}  // namespace foregate
