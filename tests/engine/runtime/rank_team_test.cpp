// The keeper of ranks, with ranks that are ends of sockets and pipes in this process: they serve, die, hang and come
// back as the test says.
#include "engine/runtime/rank_team.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <condition_variable>
#include <map>
#include <mutex>

#include "engine/runtime/rank_setup.h"

namespace foregate {
namespace {

constexpr TimeNs kNeverHung = 3'600'000'000'000;

class Stage {
 public:
  ~Stage() {
    for (auto& [id, rank] : ranks_) hang_up(rank);
  }

  RankLauncher launcher() {
    return [this](RankId id) { return launch(id); };
  }
  void wait_started(RankId id, int times) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return ranks_[id].started >= times; });
  }
  void say(RankId id, char what) {
    const std::lock_guard lock(mutex_);
    CHECK(::write(ranks_[id].pulse, &what, 1) == 1);
  }
  void die(RankId id) {
    const std::lock_guard lock(mutex_);
    hang_up(ranks_[id]);
  }
  int ended(RankId id) {
    const std::lock_guard lock(mutex_);
    return ranks_[id].ended;
  }
  void refuse(bool refused) {
    const std::lock_guard lock(mutex_);
    refused_ = refused;
  }

 private:
  struct Rank {
    int pulse = -1;
    std::unique_ptr<RankLine> line;
    int started = 0;
    int ended = 0;
  };

  static void hang_up(Rank& rank) {
    if (rank.pulse >= 0) ::close(rank.pulse);
    rank.pulse = -1;
    rank.line.reset();
  }

  Result<LaunchedRank> launch(RankId id) {
    const std::lock_guard lock(mutex_);
    Rank& rank = ranks_[id];
    ++rank.started;
    changed_.notify_all();
    if (refused_) return unavailable("no such program");
    hang_up(rank);
    int pulse[2], sockets[2];
    CHECK(::pipe2(pulse, O_CLOEXEC | O_NONBLOCK) == 0);
    CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) == 0);
    rank.pulse = pulse[1];
    rank.line = socket_line(sockets[1]);
    LaunchedRank launched;
    launched.line = socket_line(sockets[0]);
    launched.pulse_fd = pulse[0];
    launched.end = [this, id] {
      const std::lock_guard ending(mutex_);
      ++ranks_[id].ended;
    };
    return launched;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<RankId, Rank> ranks_;
  bool refused_ = false;
};

PlacementPlan plan(std::int32_t ranks) {
  const std::vector<std::int32_t> experts = {8};
  return std::move(PlacementPlan::linear(ranks, experts)).value();
}

RankTeamOptions options(TimeNs hung_after = kNeverHung) {
  RankTeamOptions options;
  options.hung_after = hung_after;
  options.first_retry = options.last_retry = 1'000'000;
  return options;
}

TEST(RankTeam, ServesOnceAllSaySo) {
  Stage stage;
  RankTeam team(plan(3), stage.launcher(), options());
  for (const RankId id : {RankId{1}, RankId{2}}) {
    stage.wait_started(id, 1);
    EXPECT_EQ(team.line(id).status().code(), Code::kUnavailable);
  }
  stage.say(RankId{1}, kPulseLoading);
  stage.say(RankId{1}, kPulseServing);
  stage.say(RankId{2}, kPulseServing);
  EXPECT_TRUE(team.wait_serving().ok());
  EXPECT_TRUE(team.line(RankId{1}).ok());
  EXPECT_TRUE(team.line(RankId{2}).ok());
  EXPECT_EQ(team.restarts(), 0u);
}

TEST(RankTeam, ADeadRankEndsItsLineAndIsFollowed) {
  Stage stage;
  RankTeam team(plan(2), stage.launcher(), options());
  stage.wait_started(RankId{1}, 1);
  stage.say(RankId{1}, kPulseServing);
  ASSERT_TRUE(team.wait_serving().ok());
  const auto line = team.line(RankId{1}).value();
  stage.die(RankId{1});
  EXPECT_EQ(line->receive({.most_bytes = 9}, kNoDeadline).status().code(), Code::kUnavailable);
  stage.wait_started(RankId{1}, 2);
  EXPECT_EQ(stage.ended(RankId{1}), 1);
  stage.say(RankId{1}, kPulseServing);
  ASSERT_TRUE(team.wait_serving().ok());
  EXPECT_EQ(team.restarts(), 1u);
  EXPECT_TRUE(team.line(RankId{1}).ok());
}

// It is not dead, but says nothing: who waits for its answer is told so.
TEST(RankTeam, ARankWithoutAPulseIsEnded) {
  Stage stage;
  RankTeam team(plan(2), stage.launcher(), options(200'000'000));
  stage.wait_started(RankId{1}, 1);
  stage.wait_started(RankId{1}, 2);
  EXPECT_GE(stage.ended(RankId{1}), 1);
  EXPECT_GE(team.restarts(), 1u);
}

TEST(RankTeam, ADroppedRankIsReplaced) {
  Stage stage;
  RankTeam team(plan(2), stage.launcher(), options());
  stage.wait_started(RankId{1}, 1);
  stage.say(RankId{1}, kPulseServing);
  ASSERT_TRUE(team.wait_serving().ok());
  team.drop(RankId{1}, data_loss("nonsense"));
  EXPECT_FALSE(team.line(RankId{1}).ok());
  stage.wait_started(RankId{1}, 2);
  EXPECT_EQ(stage.ended(RankId{1}), 1);
  EXPECT_EQ(team.restarts(), 1u);
}

TEST(RankTeam, AnEndBeforeItServesFailsTheBoot) {
  Stage stage;
  stage.refuse(true);
  RankTeam none(plan(2), stage.launcher(), options());
  EXPECT_EQ(none.wait_serving().code(), Code::kUnavailable);
  Stage other;
  RankTeamOptions patient = options();
  patient.first_retry = patient.last_retry = kNeverHung;
  RankTeam team(plan(2), other.launcher(), patient);
  other.wait_started(RankId{1}, 1);
  other.die(RankId{1});
  EXPECT_EQ(team.wait_serving().code(), Code::kUnavailable);
}

TEST(RankTeam, EndsAllAtItsOwnEnd) {
  Stage stage;
  {
    RankTeam team(plan(3), stage.launcher(), options());
    stage.wait_started(RankId{1}, 1);
    stage.wait_started(RankId{2}, 1);
  }
  EXPECT_EQ(stage.ended(RankId{1}), 1);
  EXPECT_EQ(stage.ended(RankId{2}), 1);
}

TEST(RankSetup, ReadsWhatItWroteAndNothingElse) {
  RankSetup setup{.model = "m",
                  .max_rows = 7,
                  .rank = 2,
                  .expert_bytes = {0, 1, ~std::uint64_t{0}},
                  .expert_policy = "lru",
                  .expert_warm = false,
                  .plan = "{}"};
  const auto bytes = setup_bytes(setup);
  const auto read = parse_setup(bytes);
  ASSERT_TRUE(read.ok()) << read.status().to_string();
  EXPECT_EQ(read.value().model, "m");
  EXPECT_EQ(read.value().max_rows, 7);
  EXPECT_EQ(read.value().rank, 2);
  EXPECT_TRUE(read.value().verify_weights);
  EXPECT_EQ(read.value().expert_bytes, setup.expert_bytes);
  EXPECT_EQ(read.value().expert_policy, "lru");
  EXPECT_FALSE(read.value().expert_warm);
  for (std::size_t cut = 0; cut < bytes.size(); ++cut) {
    EXPECT_EQ(parse_setup(std::span(bytes).first(cut)).status().code(), Code::kDataLoss);
  }
  setup.rank = 0;
  EXPECT_FALSE(parse_setup(setup_bytes(setup)).ok());
}

}  // namespace
}  // namespace foregate
