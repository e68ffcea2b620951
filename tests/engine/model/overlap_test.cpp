// Exchanges that overlap with what they wait for: the same bytes in parts and in halves, over every line; and messages
// between parts that are late, short, torn, repeated or of something else.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>

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

// Prompts alone and together, whole and in pieces, then rows of several sequences.
Rows all_steps(Driver& driver) {
  const int vocab = driver.model().vocab_size();
  Rows all = driver.run(some_tokens(41, vocab, 1), 23);
  driver.reset();
  std::vector<int> sequences;
  for (int i = 0; i < 5; ++i) sequences.push_back(driver.add_sequence());
  const auto add = [&](const std::vector<Driver::Part>& parts) {
    for (auto& row : driver.step(parts)) all.push_back(std::move(row));
  };
  add({{sequences[0], some_tokens(11, vocab, 2)}, {sequences[1], some_tokens(4, vocab, 3)}});
  add({{sequences[1], some_tokens(1, vocab, 4)}, {sequences[2], some_tokens(30, vocab, 5)}});
  add({{sequences[3], some_tokens(1, vocab, 6)}, {sequences[4], some_tokens(2, vocab, 7)}});
  for (int i = 0; i < 2; ++i) {
    std::vector<Driver::Part> parts;
    for (const int sequence : sequences) parts.push_back({sequence, some_tokens(1, vocab, 8 + i + sequence)});
    add(parts);
  }
  return all;
}

// Sockets that hold next to nothing: who sends waits for who reads.
LinePair narrow_sockets() {
  int fds[2];
  CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
  const int bytes = 1;  // the least that there is
  for (const int fd : fds) CHECK(::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes) == 0);
  return {socket_line(fds[0]), socket_line(fds[1])};
}

// Auto begins without: what it comes to is in BytesStayWhileWaysAreTried.
bool ran(const Crossed& crossed, OverlapMode mode) {
  return mode == OverlapMode::kAuto || (mode == OverlapMode::kChunks ? crossed.chunks : crossed.halved_steps) > 0;
}

TEST(Overlap, GroupsAreCutWholeAndEvenly) {
  const auto cut = [](std::vector<std::int32_t> rows, std::int32_t parts, std::int64_t least = 1) {
    return cut_groups(rows, least, parts);
  };
  using Ends = std::vector<std::size_t>;
  EXPECT_EQ(cut({}, 3), Ends());
  EXPECT_EQ(cut({5}, 3), Ends({1}));
  EXPECT_EQ(cut({1, 1, 1, 1}, 1), Ends({4}));
  EXPECT_EQ(cut({1, 1, 1, 1}, 2), Ends({2, 4}));
  EXPECT_EQ(cut({1, 1, 1, 1}, 9), Ends({1, 2, 3, 4}));
  EXPECT_EQ(cut({9, 1, 1, 1}, 2), Ends({1, 4}));
  EXPECT_EQ(cut({1, 1, 1, 9}, 2), Ends({3, 4}));
  EXPECT_EQ(cut({1, 1, 20}, 3), Ends({2, 3}));
  EXPECT_EQ(cut({3, 3, 3, 3, 3, 3}, 4), Ends({2, 4, 6}));
  EXPECT_EQ(cut({1, 1, 1, 1}, 9, 2), Ends({2, 4}));
  EXPECT_EQ(cut({1, 1, 1, 1}, 9, 3), Ends({4})) << "what is left is too little";
  EXPECT_EQ(cut({1, 1, 1, 1}, 9, 5), Ends({4})) << "all is less than a part";
  EXPECT_EQ(cut({6, 1, 6}, 9, 6), Ends({1, 3}));
  EXPECT_EQ(overlap_mode_named("halves").value(), OverlapMode::kHalves);
  EXPECT_EQ(overlap_mode_named("always").status().field(), "exchange_overlap");
}

TEST(Overlap, PartsFollowTheBytesAndHaveALeastAndAMost) {
  EXPECT_EQ(least_part_rows(192, 32 * 1024), 43);
  EXPECT_EQ(least_part_rows(2048, 32 * 1024), 4);
  EXPECT_EQ(least_part_rows(1 << 20, 32 * 1024), 1);
  EXPECT_EQ(least_part_rows(0, 0), 1);
  std::uint32_t dice = 7;
  for (int round = 0; round < 2000; ++round) {
    const auto next = [&dice] { return static_cast<std::int32_t>((dice = dice * 1664525 + 1013904223) >> 8); };
    std::vector<std::int32_t> rows(static_cast<std::size_t>(next() % 40));
    for (auto& group : rows) group = 1 + next() % 9;
    const std::int64_t least = 1 + next() % 60;
    const std::vector<std::size_t> ends = cut_groups(rows, least, kMostParts);
    ASSERT_LE(ends.size(), static_cast<std::size_t>(kMostParts));
    ASSERT_EQ(ends.empty(), rows.empty());
    std::size_t at = 0;
    for (const std::size_t end : ends) {
      ASSERT_LT(at, end);
      std::int64_t part = 0;
      for (; at < end; ++at) part += rows[at];
      if (ends.size() > 1) ASSERT_GE(part, least);
    }
    ASSERT_EQ(at, rows.size());
  }
}

// Steps of one row have no halves, and their exchanges are one message: all their times are those of steps without.
TEST(Overlap, TimesAreThoseOfWhatRan) {
  const std::string dir = golden_dir("qwen3-moe-top4-norm");
  ThreadRanks ranks(dir, plan_for(dir, 2, false), "auto");
  Driver driver(dir, {.ranks = &ranks, .overlap = OverlapMode::kAuto, .least_part_bytes = kLeastPartBytes});
  const auto tokens = some_tokens(60, driver.model().vocab_size(), 1);
  driver.run(tokens, 1);
  OverlapChoice& choice = *driver.model().overlap_choice();
  EXPECT_EQ(choice.times(1, OverlapMode::kOff), 60u);
  EXPECT_EQ(choice.times(1, OverlapMode::kChunks) + choice.times(1, OverlapMode::kHalves), 0u);
  for (int i = 0; i < 60; ++i) {
    driver.reset();
    driver.run(tokens, 10);
  }
  EXPECT_EQ(choice.times(10, OverlapMode::kHalves), ranks.crossed().halved_steps);
  EXPECT_EQ(choice.times(10, OverlapMode::kOff) + choice.times(10, OverlapMode::kHalves), 360u);
  EXPECT_GT(ranks.crossed().overlap_trials + ranks.crossed().overlap_trials_spared, 0u);
}

TEST(Overlap, BytesStayWhileWaysAreTried) {
  const std::string dir = golden_dir("qwen3-moe-top4-norm");
  Driver alone(dir, {});
  const Rows want = all_steps(alone);
  ThreadRanks ranks(dir, plan_for(dir, 3, false), "ref");
  Driver driver(dir, {.ranks = &ranks, .overlap = OverlapMode::kAuto});
  for (int i = 0; i < 30; ++i) {
    ASSERT_TRUE(same_bytes(all_steps(driver), want)) << i;
    driver.reset();
  }
  EXPECT_TRUE(ranks.dropped().empty());
  const Crossed& crossed = ranks.crossed();
  EXPECT_GT(crossed.overlap_trials + crossed.overlap_trials_spared, 0u);
  EXPECT_EQ(crossed.overlap_trials > 0, crossed.chunks + crossed.halved_steps > 0);
}

class Overlaps : public ::testing::TestWithParam<OverlapMode> {};
INSTANTIATE_TEST_SUITE_P(Modes, Overlaps,
                         ::testing::Values(OverlapMode::kChunks, OverlapMode::kHalves, OverlapMode::kAuto));

TEST_P(Overlaps, AnyNumberOfRanksGivesTheBytesOfOne) {
  for (const char* name : {"qwen3-moe-top4-norm", "qwen2-moe-shared-top4", "pregated-top2-norm",
                           "qwen3-moe-dense-layers", "smallthinker-sigmoid-layouts"}) {
    const std::string dir = golden_dir(name);
    Driver alone(dir, {.isa = "auto", .threads = 2});
    const Rows want = all_steps(alone);
    for (std::int32_t count = 1; count <= 4; ++count) {
      ThreadRanks ranks(dir, plan_for(dir, count, count % 2 == 0), "auto");
      Driver driver(dir, {.isa = "auto", .ranks = &ranks, .overlap = GetParam()});
      EXPECT_TRUE(same_bytes(all_steps(driver), want)) << name << ", " << count << " ranks";
      EXPECT_TRUE(ranks.dropped().empty());
      EXPECT_TRUE(count == 1 || ran(ranks.crossed(), GetParam())) << name;
    }
  }
}

// From no row at all to more than a step of the demo has, over the least size of a part.
TEST(Overlap, AnyNumberOfRowsInPartsOfAnySizeGivesTheBytesOfOne) {
  const std::string dir = golden_dir("qwen3-moe-top4-norm");
  Driver alone(dir, {.isa = "auto"});
  const int vocab = alone.model().vocab_size();
  for (std::int32_t count = 1; count <= 4; ++count) {
    for (const std::int64_t least : {std::int64_t{1}, std::int64_t{4000}, kLeastPartBytes}) {
      ThreadRanks ranks(dir, plan_for(dir, count, count % 2 == 0), "auto");
      Driver driver(dir, {.isa = "auto", .ranks = &ranks, .overlap = OverlapMode::kChunks, .least_part_bytes = least});
      for (const int rows : {0, 1, 2, 3, 7, 33, 150}) {
        const std::uint64_t before = ranks.crossed().chunks;
        const auto tokens = some_tokens(rows, vocab, rows);
        const Rows want = alone.run(tokens, 256);
        EXPECT_EQ(want.size(), tokens.size());
        EXPECT_TRUE(same_bytes(driver.run(tokens, 256), want)) << rows << " rows, " << count << " ranks, " << least;
        const std::uint64_t chunks = ranks.crossed().chunks - before;
        const std::int64_t most_bytes = rows * 5 * 160;  // 4 experts each, rows of 40 floats
        if (count == 1 || most_bytes < 2 * least) {
          EXPECT_EQ(chunks, 0u) << rows << " rows, " << count << " ranks, " << least;
        } else if (least == 1 || most_bytes > 12 * least) {
          EXPECT_GT(chunks, 0u) << rows << " rows, " << count << " ranks, " << least;
        }
        alone.reset();
        driver.reset();
      }
      EXPECT_TRUE(ranks.dropped().empty());
    }
  }
}

// Nobody waits to send while the other side waits to send to it.
TEST_P(Overlaps, LinesThatHoldNextToNothingDoNotStop) {
  const std::string dir = golden_dir("qwen3-moe-top4-norm");
  Driver alone(dir, {.isa = "auto"});
  const Rows want = all_steps(alone);
  ThreadRanks ranks(dir, plan_for(dir, 3, false), "auto", 256, {}, local_files(), ExchangeMode::kTwoAllToAlls,
                    narrow_sockets);
  Driver driver(dir, {.isa = "auto", .ranks = &ranks, .overlap = GetParam()});
  ranks.set_deadline(system_clock().now() + 120'000'000'000);
  EXPECT_TRUE(same_bytes(all_steps(driver), want));
  EXPECT_TRUE(ranks.dropped().empty());
  EXPECT_TRUE(ran(ranks.crossed(), GetParam()));
}

struct Sent {
  ExpertRows rows;
  std::uint64_t epoch = 1;
  std::size_t cut = 0;  // bytes that are missing
  MessageKind kind = MessageKind::kRows;
};

// A rank that gets parts which are not those that are due ends, and says why.
TEST(Overlap, PartsThatAreNotDueEndTheRank) {
  const std::string dir = golden_dir("qwen3-moe-top4-norm");
  const auto model = open_model(local_files(), dir);
  std::string error;
  Backend backend = make_backend({.isa = "ref", .threads = 1}, &error);
  const auto stream = backend.device->create_stream();
  const PlacementPlan plan = plan_for(dir, 2, true);
  auto experts = RankExperts::load(model.value(), plan, RankId{1}, *backend.device, backend.ops, *stream,
                                   {.max_batched_tokens = 8});
  ASSERT_TRUE(experts.ok());
  const auto mine = plan.held(RankId{1}, LayerId{0});
  ASSERT_GE(mine.size(), 2u);
  const auto hidden = static_cast<std::int64_t>(model.value().config.hidden_size);
  const auto part = [&](std::int32_t number, std::int32_t expert) {
    ExpertRows rows;
    rows.part = {.number = number, .of = 2, .half = 0};
    rows.rows = number == 0 ? 2 : 0;  // the second part's expert gets a row that the first brought
    rows.rows_before = number == 0 ? 0 : 2;
    rows.experts = {expert};
    rows.group_rows = {1};
    rows.drafted = {0};
    rows.x_rows = {1};
    return rows;
  };
  const auto end_of = [&](const std::vector<Sent>& all) {
    auto [near, far] = memory_line();
    RankLine* const rank_end = far.get();
    Status ended;
    std::thread rank([&] {
      ended = (*experts)->serve(*rank_end);
      rank_end->close();
    });
    for (const Sent& one : all) {
      std::vector<std::byte> body;
      write_rows(one.rows, hidden, body);
      body.resize(body.size() - one.cut);
      (void)near->send(one.kind, one.epoch, body, kNoDeadline);  // the rank may be gone
    }
    std::size_t answers = 0;
    while (answers < all.size() && near->receive({.most_bytes = 1 << 20}, kNoDeadline).ok()) ++answers;
    near->close();
    rank.join();
    return answers == all.size() ? Code::kOk : ended.code();
  };
  const ExpertRows first = part(0, mine[0]), second = part(1, mine[1]);
  const auto other = [&](auto change) {
    ExpertRows rows = second;
    change(rows);
    return end_of({{first, 1}, {rows, 2}});
  };
  EXPECT_EQ(end_of({{first, 1}, {second, 2}}), Code::kOk);
  EXPECT_EQ(end_of({{second, 1}}), Code::kDataLoss) << "the first is missing";
  EXPECT_EQ(end_of({{first, 1}, {first, 2}}), Code::kDataLoss) << "twice";
  EXPECT_EQ(end_of({{first, 1}, {second, 1}}), Code::kDataLoss) << "late";
  EXPECT_EQ(end_of({{first, 1}, {second, 3}}), Code::kDataLoss) << "of another epoch";
  EXPECT_EQ(end_of({{first, 1}, {second, 2, 4}}), Code::kDataLoss) << "short";
  EXPECT_EQ(end_of({{first, 1}, {second, 2, 0, MessageKind::kOutputs}}), Code::kDataLoss) << "another message";
  EXPECT_EQ(other([](ExpertRows& r) { r.part.of = 3; }), Code::kDataLoss);
  EXPECT_EQ(other([](ExpertRows& r) { r.part.number = 2; }), Code::kDataLoss);
  EXPECT_EQ(other([](ExpertRows& r) { r.part.half = 2; }), Code::kDataLoss);
  EXPECT_EQ(other([](ExpertRows& r) { r.layer = LayerId{1}; }), Code::kDataLoss);
  EXPECT_EQ(other([&](ExpertRows& r) { r.experts = {mine[0]}; }), Code::kDataLoss) << "not behind the one before";
  EXPECT_EQ(other([](ExpertRows& r) { r.x_rows = {2}; }), Code::kDataLoss) << "a row that did not come";
}

// A rank that dies or hangs between messages of a step fails that step alone, and nothing is outstanding after it.
TEST_P(Overlaps, ARankThatEndsOnTheWayFailsTheStepAndNothingElse) {
  const std::string dir = golden_dir("qwen3-moe-top4-norm");
  Driver alone(dir, {});
  for (const bool hangs : {false, true}) {
    for (const int after : {0, 1, 2, 3}) {
      ThreadRanks ranks(dir, plan_for(dir, 3, false), "ref");
      Driver driver(dir, {.ranks = &ranks, .overlap = GetParam()});
      const auto tokens = some_tokens(9, driver.model().vocab_size(), 1);
      auto [near, far] = memory_line();
      RankLine* const peer = far.get();
      ranks.replace(RankId{2}, std::move(near));
      if (hangs) ranks.set_deadline(system_clock().now() + 300'000'000);
      std::thread dying([&] {
        const TimeNs enough = system_clock().now() + 100'000'000;  // so many may not come before answers are waited for
        for (int i = 0; i < after && !hangs; ++i) (void)peer->receive({.most_bytes = 1 << 30}, enough);
        if (!hangs) peer->close();
      });
      EXPECT_EQ(driver.try_run(tokens, 9).status().code(), Code::kUnavailable);
      ASSERT_EQ(ranks.dropped().count(RankId{2}), 1u);
      EXPECT_EQ(ranks.dropped().at(RankId{2}).code(), hangs ? Code::kDeadlineExceeded : Code::kUnavailable);
      peer->close();
      dying.join();
      ranks.set_deadline(kNoDeadline);
      ranks.replace(RankId{2}, nullptr);
      const auto again = driver.try_run(tokens, 9);
      ASSERT_TRUE(again.ok()) << again.status().to_string();
      EXPECT_TRUE(same_bytes(again.value(), *alone.try_run(tokens, 9)));
      alone.reset();
    }
  }
}

}  // namespace
}  // namespace foregate
