// Which weights a rank loads, and a rank that has nothing but experts: it answers rows with what its experts make of
// them. Several threads serve exchanges that come in parts (rank_pipeline.h), else one does.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/base/status.h"
#include "engine/comm/transport.h"
#include "engine/model/expert_rows.h"
#include "engine/model/model_source.h"
#include "engine/model/rank_pipeline.h"
#include "engine/model/rank_rows.h"
#include "engine/model/transformer.h"
#include "engine/placement/plan.h"
#include "kernels/api/peers.h"

namespace foregate {

// kInvalidArgument when the plan is of another model.
Status check_plan_fits(const PlacementPlan& plan, const ModelConfig& config);
// That a transformer can share its experts: on the host, a plan that fits.
Status check_shared_experts(const ModelConfig& config, const LoadOptions& options, const Device& device);
// What rank 0 loads: everything but the experts that only others have. `stored`: it has a store, which knows all.
WeightFilter weights_of_rank(const PlacementPlan& plan, bool stored);

inline float* floats_of(const Memory& memory) {
  return reinterpret_cast<float*>(memory.data());
}

class RankExperts {
 public:
  // Loads the experts that `plan` gives `rank` and nothing else; with options.experts they are in a store, which can
  // read any. `ops`, `device` and `stream` must outlive the result.
  static Result<std::unique_ptr<RankExperts>> load(const OpenModel& model, const PlacementPlan& plan, RankId rank,
                                                   Device& device, const OpTable& ops, Stream& stream,
                                                   const LoadOptions& options);
  // Whose rows and outputs go from device to device; `limit`: of a wait for rows that were announced. Before serve().
  void set_peers(std::shared_ptr<Peers> peers, TimeNs limit) {
    peers_ = std::move(peers);
    peers_limit_ = limit;
  }
  // Answers until the line ends: kUnavailable when rank 0 has gone, kDataLoss after a message that is none.
  Status serve(RankLine& line);

  const ModelWeights& weights() const { return *weights_; }
  std::int64_t weight_bytes() const;

 private:
  RankExperts(ModelConfig config, std::unique_ptr<ModelWeights> weights, ExpertRowsLimits limits, const OpTable& ops,
              Stream& stream)
      : config_(std::move(config)), weights_(std::move(weights)), limits_(limits), ops_(ops), stream_(stream) {}
  // Where the rows of an exchange are: those of whole steps and of first halves in the first, second halves in the
  // other.
  struct Room {
    std::int64_t rows = 0;  // it holds
    std::int64_t outputs = 0;
    Memory x, y;
  };
  // The exchange whose next part is awaited; part.number 0: none is.
  struct Open {
    ExchangePart part;
    LayerId layer;
    std::int64_t rows = 0;  // so far
    std::int64_t outputs = 0;
    std::int32_t last_expert = -1;
  };

  Status allocate(Device& device, bool halves);
  Status make_room(Device& device, std::int64_t rows, Room& room);
  std::int64_t tail_rows() const;  // of outputs that the end of an answer takes
  // Into a room; kDataLoss when it is no exchange, or not the part of one that is due.
  Status take(const Message& asked, RankPipeline& pipeline, RankJob& job);
  Status check_turn(const ExpertRows& rows) const;
  Status check_held(const ExpertRows& rows) const;
  void compute(std::span<RankJob> jobs);  // of one exchange
  Status run(std::span<RankJob> jobs);
  void make_groups(std::span<RankJob> jobs);
  void begin_store(std::span<RankJob> jobs);
  Status answer(RankLine& line, RankJob& job);
  Status serve_part(RankLine& line, RankPipeline& pipeline, const Message& asked);
  Result<bool> serve_rows(RankLine& line, const Message& asked);
  Status device_works() const;  // kUnavailable when it does not, and never will
  Status serve_peer_rows(RankLine& line, const Message& asked);
  Status take_peer_rows(std::span<const std::byte> body, RankJob& job);

  ModelConfig config_;
  std::unique_ptr<ModelWeights> weights_;
  ExpertRowsLimits limits_;
  const OpTable& ops_;
  Stream& stream_;
  std::array<Room, kRankRooms> rooms_;
  Memory inner_;
  Open open_;
  std::vector<RankJob> held_;  // of the exchange that is open, where a store wants to know of all its experts at once
  std::vector<std::int32_t> identity_;
  std::vector<ExpertGroup> groups_;
  std::vector<ExpertGroup> arrived_;
  std::vector<std::int32_t> experts_, group_rows_, drafted_;  // of those groups
  bool on_host_ = true;
  std::vector<std::byte> brought_;  // outputs of a device on their way to the line
  std::shared_ptr<Peers> peers_;
  TimeNs peers_limit_ = 0;
  std::unique_ptr<RankRows> travelling_;  // null: no row goes on here
  std::int64_t step_ = 0;                 // counts layers that are not behind the one before
  LayerId last_layer_{-1};
};

}  // namespace foregate
