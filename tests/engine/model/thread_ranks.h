// Ranks as threads of this process, on lines in memory or others: each loads its own experts from the files and serves
// them.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "engine/model/rank_experts.h"
#include "kernels/registry/registry.h"

namespace foregate {

class ThreadRanks final : public ExpertRanks {
 public:
  // `experts`: each rank has a store of its own; `files`: where the model is.
  ThreadRanks(const std::string& dir, PlacementPlan plan, const std::string& isa, std::int32_t max_rows = 256,
              const std::optional<ExpertLoading>& experts = {}, const FileSystem& files = local_files(),
              ExchangeMode exchange = ExchangeMode::kTwoAllToAlls, LinePair (*make_line)() = memory_line)
      : plan_(std::move(plan)), exchange_(exchange), make_line_(make_line) {
    for (std::int32_t r = 1; r < plan_.ranks(); ++r) add(dir, RankId{r}, isa, max_rows, experts, files);
  }
  ~ThreadRanks() override {
    for (auto& [id, rank] : ranks_) {
      rank.line->close();
      if (rank.own != nullptr) rank.own->close();
      if (rank.thread.joinable()) rank.thread.join();
    }
  }

  const PlacementPlan& plan() const override { return plan_; }
  Result<std::shared_ptr<RankLine>> line(RankId rank) override {
    if (dropped_.count(rank) > 0) return unavailable("it was dropped");
    return ranks_.at(rank).line;
  }
  void drop(RankId rank, const Status& why) override { dropped_.emplace(rank, why); }
  TimeNs answer_deadline() const override { return deadline_; }
  std::shared_ptr<const PlacementPlan> next_plan() override { return std::exchange(next_, nullptr); }
  // From the next step on; every rank needs a store.
  void set_next(PlacementPlan plan) { next_ = std::make_shared<const PlacementPlan>(std::move(plan)); }
  void figures(RankId rank, const RankFigures& now) override { figures_[rank] = now; }
  void routed(LayerId layer, std::span<const std::int32_t> ids) override {
    for (const std::int32_t id : ids) ++routed_[{layer, ExpertId{id}}];
  }
  void count(const Crossed& crossed) override {
    crossed_.rows += crossed.rows;
    crossed_.bytes += crossed.bytes;
    crossed_.moves += crossed.moves;
    crossed_.context_bytes += crossed.context_bytes;
    crossed_.one_all_to_all_steps += crossed.one_all_to_all_steps;
    crossed_.chunks += crossed.chunks;
    crossed_.halved_steps += crossed.halved_steps;
    crossed_.overlap_trials += crossed.overlap_trials;
    crossed_.overlap_trials_spared += crossed.overlap_trials_spared;
  }

  // Puts a line of the test's own in the place of a rank's; null: what the rank had is back.
  void replace(RankId rank, std::shared_ptr<RankLine> line) {
    Rank& at = ranks_.at(rank);
    if (at.own == nullptr) at.own = at.line;
    at.line = line != nullptr ? std::move(line) : at.own;
    dropped_.erase(rank);
  }
  void set_deadline(TimeNs deadline) { deadline_ = deadline; }
  const std::map<RankId, RankFigures>& figures() const { return figures_; }     // of ranks with a store
  const std::map<ExpertKey, std::uint64_t>& routed() const { return routed_; }  // rows told of, by expert
  const Crossed& crossed() const { return crossed_; }
  const std::map<RankId, Status>& dropped() const { return dropped_; }
  const RankExperts& experts(RankId rank) const { return *ranks_.at(rank).experts; }

 private:
  struct Rank {
    Backend backend;
    std::unique_ptr<Stream> stream;
    std::unique_ptr<RankExperts> experts;
    std::shared_ptr<RankLine> line;
    std::shared_ptr<RankLine> own;
    std::unique_ptr<RankLine> far_end;
    std::thread thread;
  };

  void add(const std::string& dir, RankId id, const std::string& isa, std::int32_t max_rows,
           std::optional<ExpertLoading> experts, const FileSystem& files) {
    Rank& rank = ranks_[id];
    std::string error;
    rank.backend = make_backend({.isa = isa, .threads = 1}, &error);
    CHECK(rank.backend.device != nullptr);
    rank.stream = rank.backend.device->create_stream();
    auto model = open_model(files, dir);
    CHECK(model.ok());
    LoadOptions load;
    load.max_batched_tokens = max_rows;
    load.exchange = exchange_;
    load.overlap = OverlapMode::kHalves;  // it takes whatever rank 0 sends
    if (experts) {
      experts->store.own = [this, id](ExpertKey key) { return plan_.holds(id, key.layer, key.expert); };
      load.experts = std::move(experts);
    }
    auto loaded = RankExperts::load(*model, plan_, id, *rank.backend.device, rank.backend.ops, *rank.stream, load);
    CHECK(loaded.ok());
    rank.experts = std::move(loaded).value();
    auto [near, far] = make_line_();
    rank.line = std::move(near);
    rank.far_end = std::move(far);
    rank.thread = std::thread([&rank] { (void)rank.experts->serve(*rank.far_end); });
  }

  PlacementPlan plan_;
  ExchangeMode exchange_;
  LinePair (*make_line_)();
  std::map<RankId, Rank> ranks_;
  std::map<RankId, Status> dropped_;
  std::map<RankId, RankFigures> figures_;
  std::map<ExpertKey, std::uint64_t> routed_;
  std::shared_ptr<const PlacementPlan> next_;
  TimeNs deadline_ = kNoDeadline;
  Crossed crossed_;
};

}  // namespace foregate
