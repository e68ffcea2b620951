#include "engine/model/rank_experts.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <string>

#include "engine/model/moe_block.h"

namespace foregate {
namespace {

float* floats(const Memory& memory) {
  return reinterpret_cast<float*>(memory.data());
}

std::int64_t widest_expert(const ModelConfig& config) {
  std::int64_t widest = 0;
  for (const LayerConfig& layer : config.layers) {
    if (layer.sparse) widest = std::max<std::int64_t>(widest, layer.ffn_intermediate);
  }
  return widest;
}

}  // namespace

Status check_plan_fits(const PlacementPlan& plan, const ModelConfig& config) {
  if (plan.layers() != config.layers.size()) {
    return invalid_argument(
        "the plan has " + std::to_string(plan.layers()) + " layers, the model " + std::to_string(config.layers.size()),
        "placement");
  }
  for (std::size_t i = 0; i < config.layers.size(); ++i) {
    const std::int32_t experts = config.layers[i].sparse ? config.router.experts : 0;
    const std::int32_t planned = plan.experts(LayerId{static_cast<std::int32_t>(i)});
    if (planned == experts) continue;
    return invalid_argument("the plan has " + std::to_string(planned) + " experts in layer " + std::to_string(i) +
                                ", the model " + std::to_string(experts),
                            "placement");
  }
  return {};
}

Status check_shared_experts(const ModelConfig& config, const LoadOptions& options, const Device& device) {
  if (!device.host_visible() || options.experts || options.dense || options.packing) {
    return unimplemented("experts are shared among ranks on the CPU only, with all weights in memory",
                         "expert_parallel_size");
  }
  return check_plan_fits(options.ranks->plan(), config);
}

WeightFilter weights_of_rank(const PlacementPlan& plan) {
  return [&plan](const WeightItem& item) {
    return item.expert < 0 || plan.holds(RankId{0}, LayerId{item.layer}, ExpertId{item.expert});
  };
}

Result<std::unique_ptr<RankExperts>> RankExperts::load(const OpenModel& model, const PlacementPlan& plan, RankId rank,
                                                       Device& device, const OpTable& ops, Stream& stream,
                                                       const LoadOptions& options) {
  RETURN_IF_ERROR(check_plan_fits(plan, model.config));
  const WeightFilter own = [&](const WeightItem& item) {
    return item.expert >= 0 && plan.holds(rank, LayerId{item.layer}, ExpertId{item.expert});
  };
  ASSIGN_OR_RETURN(auto weights,
                   load_weights(model.config, model.index, device, ops, stream, options.weights, options.progress,
                                options.verify_weights, nullptr, nullptr, nullptr, own));
  const ExpertRowsLimits limits{.max_rows = options.max_batched_tokens,
                                .top_k = model.config.router.top_k,
                                .hidden = model.config.hidden_size,
                                .layers = static_cast<std::int32_t>(model.config.layers.size()),
                                .experts = model.config.router.experts};
  std::unique_ptr<RankExperts> made(new RankExperts(model.config, std::move(weights), limits, ops, stream));
  RETURN_IF_ERROR(made->allocate(device));
  return made;
}

Status RankExperts::allocate(Device& device) {
  const std::int64_t assignments = limits_.max_rows * limits_.top_k;
  const auto take = [&](std::int64_t count) {
    return device.allocate(static_cast<std::size_t>(count) * sizeof(float));
  };
  x_ = take(limits_.max_rows * limits_.hidden);
  y_ = take(assignments * limits_.hidden);
  inner_ = take(assignments * widest_expert(config_));
  if (!x_ || !y_ || !inner_) return resource_exhausted("no memory for the rows of a step");
  identity_.resize(static_cast<std::size_t>(assignments));
  std::iota(identity_.begin(), identity_.end(), 0);
  return {};
}

std::int64_t RankExperts::weight_bytes() const {
  std::int64_t bytes = 0;
  for (const Memory& memory : weights_->memory) bytes += static_cast<std::int64_t>(memory.bytes());
  return bytes;
}

Status RankExperts::compute(std::span<const std::byte> body) {
  std::span<const std::byte> values;
  RETURN_IF_ERROR(read_rows(body, limits_, rows_, values));
  std::memcpy(x_.data(), values.data(), values.size());
  groups_.clear();
  if (weights_->experts.experts(rows_.layer) == 0) return data_loss("an exchange is of a layer without experts");
  std::int32_t first = 0;
  for (std::size_t g = 0; g < rows_.experts.size(); ++g) {
    const ExpertWeights& weights = weights_->experts.get({rows_.layer, ExpertId{rows_.experts[g]}});
    if (weights.gate.data == nullptr) {
      return data_loss("expert " + std::to_string(rows_.experts[g]) + " of layer " + std::to_string(rows_.layer.value) +
                       " is not on this rank");
    }
    groups_.push_back({.weights = weights,
                       .x_rows = rows_.x_rows.data() + first,
                       .out_rows = identity_.data() + first,
                       .rows = rows_.group_rows[g]});
    first += rows_.group_rows[g];
  }
  run_groups(ops_, stream_, config_.activation, {floats(x_), rows_.rows, limits_.hidden, limits_.hidden},
             {floats(y_), first, limits_.hidden, limits_.hidden}, floats(inner_), groups_);
  stream_.synchronize();
  return {};
}

Status RankExperts::serve(RankLine& line) {
  MessageBounds bounds{.most_bytes = max_rows_bytes(limits_)};
  while (true) {
    ASSIGN_OR_RETURN(const Message asked, line.receive(bounds, kNoDeadline));
    if (asked.kind != MessageKind::kRows) return data_loss("a message that is no exchange");
    RETURN_IF_ERROR(compute(asked.body));
    const std::size_t bytes = rows_.x_rows.size() * static_cast<std::size_t>(limits_.hidden) * sizeof(float);
    RETURN_IF_ERROR(line.send(MessageKind::kOutputs, asked.epoch, {y_.data(), bytes}, kNoDeadline));
    bounds.least_epoch = asked.epoch + 1;
  }
}

}  // namespace foregate
