// Ranks as threads of this process, each with a GPU of a CUDA module (in emulation, the one there is), on lines in
// memory. With a library of NCCL they are peers of rank 0.
#pragma once

#include <cstdio>
#include <future>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "engine/comm/peer_call.h"
#include "engine/model/rank_experts.h"
#include "kernels/api/check.h"
#include "kernels/registry/gpu.h"
#include "kernels/registry/registry.h"

namespace foregate {

struct GpuRanksOptions {
  std::string module;
  bool peers = false;        // else rows go over the lines
  std::string library = {};  // of NCCL
  TimeNs join_limit = 20'000'000'000;
  TimeNs answer_limit = 20'000'000'000;
};

class GpuRanks final : public ExpertRanks {
 public:
  GpuRanks(const std::string& dir, PlacementPlan plan, GpuRanksOptions options)
      : plan_(std::move(plan)), options_(std::move(options)), near_(open_gpu(0)) {
    for (std::int32_t r = 1; r < plan_.ranks(); ++r) add(dir, RankId{r});
  }
  ~GpuRanks() override {
    for (auto& [id, rank] : ranks_) {
      rank.line->close();
      if (rank.thread.joinable()) rank.thread.join();
    }
  }

  const PlacementPlan& plan() const override { return plan_; }
  Result<std::shared_ptr<RankLine>> line(RankId rank) override {
    if (dropped_.count(rank) > 0) return unavailable("it was dropped");
    return ranks_.at(rank).line;
  }
  Result<RankLink> link(RankId rank) override {
    ASSIGN_OR_RETURN(auto reached, line(rank));
    return RankLink{.line = std::move(reached), .peers = ranks_.at(rank).peers, .gone = nullptr};
  }
  void drop(RankId rank, const Status& why) override { dropped_.emplace(rank, why); }
  TimeNs answer_deadline() const override { return system_clock().now() + options_.answer_limit; }
  void figures(RankId, const RankFigures&) override {}
  void count(const Crossed& crossed) override {
    crossed_.rows += crossed.rows;
    crossed_.bytes += crossed.bytes;
    crossed_.peer_bytes += crossed.peer_bytes;
  }

  const Crossed& crossed() const { return crossed_; }
  const std::map<RankId, Status>& dropped() const { return dropped_; }
  const std::shared_ptr<Peers>& peers(RankId rank) const { return ranks_.at(rank).peers; }  // of rank 0
  bool by_peers(RankId rank) const { return ranks_.at(rank).peers != nullptr; }
  const std::string& why_not(RankId rank) const { return ranks_.at(rank).why_not; }
  Status ended(RankId rank) {  // how it stopped to serve, once it has
    ranks_.at(rank).thread.join();
    return ranks_.at(rank).ended;
  }
  void hang_up(RankId rank) { ranks_.at(rank).line->close(); }

 private:
  struct Rank {
    Backend host, gpu;
    std::unique_ptr<Stream> host_stream, stream;
    std::unique_ptr<RankExperts> experts;
    std::shared_ptr<RankLine> line;
    std::unique_ptr<RankLine> far_end;
    std::shared_ptr<Peers> peers;  // of rank 0
    std::string why_not;
    Status ended;
    std::thread thread;
  };

  Backend open_gpu(int ordinal) const {
    std::string error;
    Backend gpu = make_gpu_backend({.module = options_.module, .ordinal = ordinal, .wraps = true}, &error);
    if (gpu.device == nullptr) std::fprintf(stderr, "a rank's GPU: %s\n", error.c_str());
    CHECK(gpu.device != nullptr);
    return gpu;
  }

  void add(const std::string& dir, RankId id) {
    Rank& rank = ranks_[id];
    auto [near, far] = memory_line();
    rank.line = std::move(near);
    rank.far_end = std::move(far);
    std::promise<void> loaded;
    rank.thread = std::thread([this, &rank, &dir, &loaded, id] {
      load(rank, dir, id);
      loaded.set_value();
      rank.ended = serve(rank);
    });
    loaded.get_future().wait();
    if (!options_.peers) return;
    auto call = call_peer(
        *rank.line, *near_.device,
        {.library = options_.library, .join_limit = options_.join_limit, .answer_limit = options_.answer_limit});
    CHECK(call.ok());
    rank.peers = std::move(call->peers);
    rank.why_not = std::move(call->why_not);
  }

  // A thread has a GPU: all that a rank does with its own it does on its thread.
  void load(Rank& rank, const std::string& dir, RankId id) {
    std::string error;
    rank.host = make_backend({.isa = "auto", .threads = 1}, &error);
    rank.gpu = open_gpu(id.value);
    rank.host_stream = rank.host.device->create_stream();
    rank.stream = rank.gpu.device->create_stream();
    auto model = open_model(local_files(), dir);
    CHECK(model.ok());
    LoadOptions load;
    load.max_batched_tokens = 256;
    load.packing = {rank.host.device.get(), &rank.host.ops, rank.host_stream.get()};
    auto experts = RankExperts::load(*model, plan_, id, *rank.gpu.device, rank.gpu.ops, *rank.stream, load);
    CHECK(experts.ok());
    rank.experts = std::move(experts).value();
  }

  Status serve(Rank& rank) {
    if (options_.peers) {
      ASSIGN_OR_RETURN(auto answer, answer_peer(*rank.far_end, *rank.gpu.device, options_.library));
      rank.experts->set_peers(std::move(answer.call.peers), answer.answer_limit);
    }
    const Status ended = rank.experts->serve(*rank.far_end);
    rank.far_end->close();
    return ended;
  }

  PlacementPlan plan_;
  GpuRanksOptions options_;
  Backend near_;
  std::map<RankId, Rank> ranks_;
  std::map<RankId, Status> dropped_;
  Crossed crossed_;
};

}  // namespace foregate
