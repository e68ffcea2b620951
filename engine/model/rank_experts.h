// Which weights a rank loads, and a rank that has nothing but experts: it answers rows with what its experts make of
// them. One thread.
#pragma once

#include <cstdint>
#include <memory>

#include "engine/base/status.h"
#include "engine/comm/transport.h"
#include "engine/model/expert_rows.h"
#include "engine/model/model_source.h"
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
  Status allocate(Device& device);
  Status take(std::span<const std::byte> body);  // into x_, rows_ and groups_; kDataLoss when it is no exchange
  Status make_groups();
  Status compute();  // into y_
  Result<bool> serve_rows(RankLine& line, const Message& asked);
  Status answer(RankLine& line, std::uint64_t epoch, const Status& computed);
  Status device_works() const;  // kUnavailable when it does not, and never will
  Status serve_peer_rows(RankLine& line, const Message& asked);
  Status take_peer_rows(std::span<const std::byte> body);

  ModelConfig config_;
  std::unique_ptr<ModelWeights> weights_;
  ExpertRowsLimits limits_;
  const OpTable& ops_;
  Stream& stream_;
  Memory x_, y_, inner_;
  ExpertRows rows_;
  std::vector<std::int32_t> identity_;
  std::vector<ExpertGroup> groups_;
  std::vector<ExpertGroup> arrived_;
  bool on_host_ = true;
  std::vector<std::byte> brought_;  // outputs of a device on their way to the line
  std::shared_ptr<Peers> peers_;
  TimeNs peers_limit_ = 0;
  std::unique_ptr<RankRows> travelling_;  // null: no row goes on here
  std::int64_t step_ = 0;                 // counts layers that are not behind the one before
  LayerId last_layer_{-1};
};

}  // namespace foregate
