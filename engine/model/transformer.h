// The decoder-only transformer behind the Model seam: one layer loop for all architectures, over
// the op table of any backend. Weights are const after load; forward() runs on the executor
// thread, one call at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/api/expert_board.h"
#include "engine/base/status.h"
#include "engine/model/draft_routes.h"
#include "engine/model/expert_tally.h"
#include "engine/model/half_steps.h"
#include "engine/model/host_experts.h"
#include "engine/model/lookahead.h"
#include "engine/model/model.h"
#include "engine/model/model_config.h"
#include "engine/model/model_source.h"
#include "engine/model/model_weights.h"
#include "engine/model/moe_exchange.h"
#include "engine/model/overlap_choice.h"
#include "engine/model/route_memory.h"
#include "engine/model/route_tap.h"
#include "engine/model/row_travel.h"
#include "engine/model/step_scratch.h"
#include "engine/model/weight_loader.h"
#include "kernels/api/op_table.h"

namespace foregate {

// Where weights are packed when the device's memory is not the host's.
struct LoadPacking {
  Device* device = nullptr;
  const OpTable* ops = nullptr;
  Stream* stream = nullptr;
};

struct LoadOptions {
  std::int32_t max_batched_tokens = 2048;  // most rows of one forward(); sizes the scratch
  WeightPlanOptions weights = {};
  WeightProgress progress = {};     // may be empty
  bool verify_weights = true;       // compare the checksums of a packed model
  LookaheadOptions lookahead = {};  // of experts in a store
  bool collect_steps = true;        // decode steps that need nothing of the host are given to the device as one
  std::optional<ExpertLoading> experts = {};  // experts in a store; none: all in memory
  std::optional<DenseLoading> dense = {};     // dense weights in a window; none: all in memory
  std::optional<LoadPacking> packing = {};    // none: on the device itself
  // Experts shared with other ranks: this one loads those that the plan gives rank 0. On the host; the ranks must
  // outlive the transformer. Null: all experts are here.
  ExpertRanks* ranks = nullptr;
  // In which form. Other than two all-to-alls: every rank loads the dense weights, all experts are in memory.
  ExchangeMode exchange = ExchangeMode::kTwoAllToAlls;
  // Of two all-to-alls: what overlaps.
  OverlapMode overlap = OverlapMode::kOff;
  std::int64_t least_part_bytes = kLeastPartBytes;  // of an exchange in parts (exchange_parts.h)
};

struct Step;

KvLayout kv_layout_of(const ModelConfig& config, DType type, std::int32_t block_size);

class Transformer final : public Model {
 public:
  Transformer(ModelConfig config, std::unique_ptr<ModelWeights> weights, StepScratch scratch,
              std::int32_t max_batched_tokens, const OpTable& ops, Stream& stream);

  Status forward(const ForwardInput& input, KvCache& cache, View2<float> logits) override;
  void foresee(std::span<const Token> tokens) override;
  void drafts_stood(std::span<const std::int32_t> stood, std::span<const std::int32_t> places) override;
  std::int32_t vocab_size() const override { return config_.logits(); }
  KvLayout kv_layout(DType type, std::int32_t block_size) const override {
    return kv_layout_of(config_, type, block_size);
  }
  std::uint64_t weight_bytes_read() const override { return bytes_read_.load(std::memory_order_relaxed); }

  bool samples() const override;
  std::uint64_t collected_steps() const override { return stream_.collected(); }
  bool broken() const override { return failure() != nullptr; }
  std::optional<ExpertFigures> expert_figures() const override;
  std::optional<TierFigures> tier_figures() const override;
  std::optional<DenseFigures> dense_figures() const override;
  ElasticSlots* elastic_slots() override {
    if (weights_->tier && weights_->tier->elastic()) return weights_->tier.get();
    return weights_->store && weights_->store->elastic() ? weights_->store.get() : nullptr;
  }

  const ModelConfig& config() const { return config_; }
  const ModelWeights& weights() const { return *weights_; }
  std::int64_t weight_bytes() const;  // packed, in device memory
  std::int64_t scratch_bytes() const { return scratch_.bytes(); }

  void set_lookahead(std::unique_ptr<Lookahead> lookahead) { lookahead_ = std::move(lookahead); }  // null: none
  // Told what every MoE layer routes from the next step on; null: nobody. It must outlive the transformer's steps.
  void set_route_sink(RouteSink* sink);
  const Lookahead* lookahead() const { return lookahead_.get(); }
  // What loads and kernels of experts cost here; null: not known.
  const CostModel* costs() const { return weights_->costs ? &weights_->costs->costs() : nullptr; }
  bool costs_measured() const { return weights_->costs && weights_->costs->measured(); }     // at this start
  OverlapChoice* overlap_choice() { return overlap_choice_ ? &*overlap_choice_ : nullptr; }  // null: nothing is chosen
  const ExpertStore* store() const { return weights_->store.get(); }  // null: all experts are in memory
  const DeviceTier* tier() const { return weights_->tier.get(); }     // null: no device in front of the store
  std::shared_ptr<ExpertBoard> expert_board() const { return board_; }
  void show_experts() override;
  void keep_routes() override;
  std::span<const std::int32_t> last_experts(std::uint64_t request) const override;
  std::span<const std::uint8_t> resident_experts() override;

 private:
  Result<std::int64_t> run_layers(const Step& step, KvCache& cache);
  Result<std::int64_t> run_shared_layers(const Step& step, KvCache& cache);
  Result<std::int64_t> run_layer(const Step& step, LayerId id, KvCache& cache);
  Result<int> run_moe(const Step& step, LayerId id);
  void count_stood(const DraftRoutes::Stood& stood);
  void announce(const Step& step, LayerId id, const ExpertRoute& route);
  bool device_routes() const;
  const char* failure() const;
  Status prepare_host_experts(const LoadOptions& options);
  void begin_rows(const Step& step);
  void bring_hidden(const Step& step);
  Status compute_logits(const Step& step, View2<float> logits);
  Status make_logit_room(std::int64_t rows);
  void bring_logits(const Step& step, View2<const float> from, View2<float> logits);
  friend Result<std::unique_ptr<Transformer>> load_transformer(const OpenModel&, Device&, const OpTable&, Stream&,
                                                               const LoadOptions&);
  friend Result<std::unique_ptr<Transformer>> load_nextn(const OpenModel&, const Transformer&, const LoadOptions&);
  friend Status cut_head(Transformer&, std::span<const Token>, bool);
  friend Result<std::unique_ptr<Transformer>> with_fewer_experts(const Transformer&, std::int32_t, std::int32_t);

  ModelConfig config_;
  std::unique_ptr<ModelWeights> weights_;
  std::unique_ptr<Lookahead> lookahead_;
  std::unique_ptr<MoeExchange> exchange_;  // null: all experts are here
  std::unique_ptr<HalfSteps> halves_;      // null: no step runs in two halves
  OverlapMode overlap_ = OverlapMode::kOff;
  std::optional<OverlapChoice> overlap_choice_;  // of kAuto
  std::unique_ptr<RowTravel> travel_;            // null: tokens return to this rank after each layer
  std::unique_ptr<HostExperts> host_;            // null: none is computed on the host beside a device
  std::optional<RouteTap> tap_;
  std::optional<RouteMemory> routes_;
  std::vector<std::uint8_t> resident_;  // what resident_experts() shows
  ExpertTally tally_;
  DraftRoutes drafts_;
  std::shared_ptr<ExpertBoard> board_ = std::make_shared<ExpertBoard>();
  StepScratch scratch_;
  std::int32_t max_batched_tokens_;
  std::vector<std::vector<float>> rope_frequencies_;  // per rope of the config
  const OpTable& ops_;
  Stream& stream_;
  Device* device_ = nullptr;
  bool collect_steps_ = false;
  Memory nextn_rows_;  // [max_batched_tokens, 2 * hidden] of a NextN layer: what its rows are joined from
  Memory device_logits_;
  Memory device_tokens_;
  std::int64_t steps_ = 0;
  std::uint64_t sparse_layers_ = 0;
  std::atomic<std::uint64_t> bytes_read_{0};  // read by other threads for figures
};

// Brings the weights of an opened model onto the device, packed. `ops` and `stream` must outlive the result.
// Errors name the file and the tensor.
Result<std::unique_ptr<Transformer>> load_transformer(const OpenModel& model, Device& device, const OpTable& ops,
                                                      Stream& stream, const LoadOptions& options);
// Opens the model at `path` first.
Result<std::unique_ptr<Transformer>> load_transformer(const FileSystem& files, const std::string& path, Device& device,
                                                      const OpTable& ops, Stream& stream, const LoadOptions& options);

}  // namespace foregate
