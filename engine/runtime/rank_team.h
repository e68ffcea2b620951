// The other ranks of this server: starts them, hears their pulse, ends those that are gone, hang or talk nonsense, and
// starts successors. Owned by the booted model; the engine thread asks for lines, a keeper thread does the rest.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "engine/base/metrics.h"
#include "engine/model/expert_ranks.h"
#include "engine/runtime/peer_join.h"
#include "engine/runtime/placement_keeper.h"
#include "engine/runtime/rank_report.h"

namespace foregate {

// On the pulse of a rank: every byte says that it lives, and what it does. Its end says that the rank is gone.
inline constexpr char kPulseLoading = 'l';
inline constexpr char kPulseServing = 's';
inline constexpr TimeNs kPulseNs = 200'000'000;

struct LaunchedRank {
  std::shared_ptr<RankLine> line;
  bool shares_memory = false;  // messages go through memory of both processes
  int pulse_fd = -1;           // to read from, not blocking; whoever launches gives it away
  std::function<void()> end;   // makes sure that it is gone; called once
};
using RankLauncher = std::function<Result<LaunchedRank>(RankId)>;

struct RankTeamOptions {
  TimeNs hung_after = 2'000'000'000;  // without a pulse; loading and computing ranks have one
  TimeNs answer_limit = 60'000'000'000;
  TimeNs first_retry = 500'000'000;  // before another start after one that failed; it doubles up to
  TimeNs last_retry = 5'000'000'000;
  PeerPolicy peers = {};  // ranks with a GPU each
  Metrics* metrics = nullptr;
  std::string model_name;
};

class RankTeam final : public ExpertRanks {
 public:
  RankTeam(PlacementPlan plan, RankLauncher launcher, RankTeamOptions options);
  ~RankTeam() override;
  // Until all ranks serve. kUnavailable when one ends before: its own log says why.
  Status wait_serving();
  std::uint64_t restarts() const;
  // Which way rows go, for the status page: "by NCCL", "over the line: why"; empty where no rank is called.
  std::string transport_text() const;
  // Follows what is routed from the next step on. Every rank must have a store, which can read any expert.
  void set_keeper(std::unique_ptr<PlacementKeeper> keeper) { placement_ = std::move(keeper); }

  const PlacementPlan& plan() const override { return plan_; }
  Result<std::shared_ptr<RankLine>> line(RankId rank) override;
  Result<RankLink> link(RankId rank) override;
  void drop(RankId rank, const Status& why) override;
  TimeNs answer_deadline() const override;
  void count(const Crossed& crossed) override;
  void routed(LayerId layer, std::span<const std::int32_t> ids) override {
    if (placement_) placement_->routed(layer, ids);
  }
  std::shared_ptr<const PlacementPlan> next_plan() override { return placement_ ? placement_->take() : nullptr; }
  void figures(RankId rank, const RankFigures& now) override { report_.figures(rank, now); }

 private:
  enum class State { kDown, kLoading, kServing };
  struct Rank {
    RankId id;
    State state = State::kDown;
    LaunchedRank process;
    std::unique_ptr<PeerJoin> join;  // null: nobody is called
    TimeNs last_pulse = 0;
    TimeNs start_at = 0;  // when down
    int failures = 0;     // starts in a row that came to nothing
    std::string dropped;  // why it is to be ended; empty: it is not
  };

  Counter& counter(const char* name, const char* help);
  Gauge& gauge(const char* name, const char* help);
  void keep();
  int poll_ranks();
  void look_at(Rank& rank, TimeNs now);
  void read_pulse(Rank& rank, TimeNs now);
  void start(Rank& rank, TimeNs now);
  void end(Rank& rank, const std::string& why, TimeNs now);
  TimeNs next_event() const;
  void wake();
  bool has_joined(Rank& rank);
  void count_peers();

  const PlacementPlan plan_;
  const RankLauncher launcher_;
  const RankTeamOptions options_;
  Metrics own_metrics_;
  Counter& rows_;
  Counter& bytes_;
  Counter& moves_;
  Counter& context_bytes_;
  Counter& one_all_to_all_steps_;
  Counter& peer_bytes_;
  Counter& chunks_;
  Counter& halves_;
  Counter& overlap_trials_;
  Counter& overlap_trials_spared_;
  Counter& restarts_counter_;
  Gauge& serving_;
  Gauge& sharing_memory_;
  Gauge& by_peers_;
  RankReport report_;
  std::unique_ptr<PlacementKeeper> placement_;  // null: the plan is what it was
  std::unique_ptr<DeviceBook> devices_;         // null: nobody is called
  int wake_fd_ = -1;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Rank> ranks_;  // 1, 2, ...
  std::uint64_t restarts_ = 0;
  bool stopping_ = false;
  std::thread keeper_;
};

}  // namespace foregate
