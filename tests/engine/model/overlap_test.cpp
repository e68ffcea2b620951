// Exchanges that overlap with what they wait for: the same bytes in parts and in halves, over every line; and messages
// between parts that are late, short, torn, repeated or of something else.
#include <gtest/gtest.h>
#include <sys/socket.h>

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

std::uint64_t ran(const Crossed& crossed, OverlapMode mode) {
  return mode == OverlapMode::kChunks ? crossed.chunks : crossed.halved_steps;
}

TEST(Overlap, GroupsAreCutWholeAndEvenly) {
  const auto cut = [](std::vector<std::int32_t> rows, std::int32_t parts) { return cut_groups(rows, parts); };
  using Ends = std::vector<std::size_t>;
  EXPECT_EQ(cut({}, 3), Ends());
  EXPECT_EQ(cut({5}, 3), Ends({1}));
  EXPECT_EQ(cut({1, 1, 1, 1}, 1), Ends({4}));
  EXPECT_EQ(cut({1, 1, 1, 1}, 2), Ends({2, 4}));
  EXPECT_EQ(cut({1, 1, 1, 1}, 9), Ends({1, 2, 3, 4}));
  EXPECT_EQ(cut({9, 1, 1, 1}, 2), Ends({1, 4}));
  EXPECT_EQ(cut({1, 1, 1, 9}, 2), Ends({3, 4}));
  EXPECT_EQ(cut({1, 1, 20}, 3), Ends({1, 2, 3}));
  EXPECT_EQ(cut({3, 3, 3, 3, 3, 3}, 4).size(), 4u);
  EXPECT_EQ(overlap_mode_named("halves").value(), OverlapMode::kHalves);
  EXPECT_EQ(overlap_mode_named("always").status().field(), "exchange_overlap");
}

class Overlaps : public ::testing::TestWithParam<OverlapMode> {};
INSTANTIATE_TEST_SUITE_P(Modes, Overlaps, ::testing::Values(OverlapMode::kChunks, OverlapMode::kHalves));

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
      if (count > 1) EXPECT_GT(ran(ranks.crossed(), GetParam()), 0u) << name;
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
  EXPECT_GT(ran(ranks.crossed(), GetParam()), 0u);
}

}  // namespace
}  // namespace foregate
