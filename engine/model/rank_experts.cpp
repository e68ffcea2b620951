#include "engine/model/rank_experts.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <string>

#include "engine/model/leased_groups.h"
#include "engine/model/moe_block.h"

namespace foregate {
namespace {

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
  if (!device.host_visible() && (options.experts || options.exchange != ExchangeMode::kTwoAllToAlls)) {
    return unimplemented("ranks on a GPU have their experts in its memory, and outputs return after each layer",
                         "expert_parallel_size");
  }
  if (options.exchange != ExchangeMode::kTwoAllToAlls) {
    if (options.experts || options.dense) {
      return unimplemented("tokens stay where their experts are with all weights in memory only", "exchange");
    }
    RETURN_IF_ERROR(RowTravel::check(config));
  }
  return check_plan_fits(options.ranks->plan(), config);
}

WeightFilter weights_of_rank(const PlacementPlan& plan, bool stored) {
  if (stored) return {};
  return [&plan](const WeightItem& item) {
    return item.expert < 0 || plan.holds(RankId{0}, LayerId{item.layer}, ExpertId{item.expert});
  };
}

Result<std::unique_ptr<RankExperts>> RankExperts::load(const OpenModel& model, const PlacementPlan& plan, RankId rank,
                                                       Device& device, const OpTable& ops, Stream& stream,
                                                       const LoadOptions& options) {
  RETURN_IF_ERROR(check_plan_fits(plan, model.config));
  const bool on_host = device.host_visible();
  const bool stays = !options.experts && options.exchange == ExchangeMode::kTwoAllToAlls;
  if (!on_host && (!options.packing || !stays)) {
    return unimplemented("a rank on a GPU has its experts in its memory", "device");
  }
  const ExpertLoading* const store = options.experts ? &*options.experts : nullptr;
  const bool travels = options.exchange != ExchangeMode::kTwoAllToAlls;
  const WeightFilter own = [&](const WeightItem& item) {
    if (item.expert < 0) return travels;
    return store != nullptr || plan.holds(rank, LayerId{item.layer}, ExpertId{item.expert});
  };
  const DeviceTarget target{device, stream};
  const LoadPacking here = options.packing ? *options.packing : LoadPacking{&device, &ops, &stream};
  ASSIGN_OR_RETURN(auto weights, load_weights(model.config, model.index, *here.device, *here.ops, *here.stream,
                                              options.weights, options.progress, options.verify_weights, store, nullptr,
                                              on_host ? nullptr : &target, own));
  const ExpertRowsLimits limits{.max_rows = options.max_batched_tokens,
                                .top_k = model.config.router.top_k,
                                .hidden = model.config.hidden_size,
                                .layers = static_cast<std::int32_t>(model.config.layers.size()),
                                .experts = model.config.router.experts};
  std::unique_ptr<RankExperts> made(new RankExperts(model.config, std::move(weights), limits, ops, stream));
  made->on_host_ = on_host;
  RETURN_IF_ERROR(made->allocate(device));
  if (travels) {
    ASSIGN_OR_RETURN(made->travelling_, RankRows::create(made->config_, *made->weights_, rank, plan,
                                                         options.max_batched_tokens, device, ops, stream));
  }
  return made;
}

Status RankExperts::allocate(Device& device) {
  const std::int64_t assignments = limits_.max_rows * limits_.top_k;
  const auto take = [&](std::int64_t count) {
    return device.allocate(static_cast<std::size_t>(count) * sizeof(float));
  };
  x_ = take(limits_.max_rows * limits_.hidden);
  y_ = device.allocate(static_cast<std::size_t>(assignments * limits_.hidden) * sizeof(float) + kRankFiguresBytes);
  inner_ = take(assignments * widest_expert(config_));
  if (!x_ || !y_ || !inner_) return resource_exhausted("no memory for the rows of a step");
  identity_.resize(static_cast<std::size_t>(assignments));
  std::iota(identity_.begin(), identity_.end(), 0);
  return {};
}

std::int64_t RankExperts::weight_bytes() const {
  std::int64_t bytes = 0;
  for (const Memory& memory : weights_->memory) bytes += static_cast<std::int64_t>(memory.bytes());
  if (weights_->store) bytes += static_cast<std::int64_t>(weights_->store->stats().slot_bytes);
  return bytes;
}

// Groups without weights; where all are in memory, with them.
Status RankExperts::make_groups() {
  groups_.clear();
  std::int32_t first = 0;
  for (std::size_t g = 0; g < rows_.experts.size(); ++g) {
    groups_.push_back({.weights = {},
                       .x_rows = rows_.x_rows.data() + first,
                       .out_rows = identity_.data() + first,
                       .rows = rows_.group_rows[g]});
    first += rows_.group_rows[g];
    if (weights_->store) continue;
    groups_.back().weights = weights_->experts.get({rows_.layer, ExpertId{rows_.experts[g]}});
    if (groups_.back().weights.gate.data != nullptr) continue;
    return data_loss("expert " + std::to_string(rows_.experts[g]) + " of layer " + std::to_string(rows_.layer.value) +
                     " is not on this rank");
  }
  return {};
}

Status RankExperts::take(std::span<const std::byte> body) {
  std::span<const std::byte> values;
  RETURN_IF_ERROR(read_rows(body, limits_, rows_, values));
  if (!config_.layers[static_cast<std::size_t>(rows_.layer.value)].sparse) {
    return data_loss("an exchange is of a layer without experts");
  }
  stream_.upload(x_.data(), values.data(), values.size());
  return make_groups();
}

Status RankExperts::compute() {
  const auto outputs = static_cast<std::int64_t>(rows_.x_rows.size());
  const auto run = [&](std::span<ExpertGroup> groups) {
    run_groups(ops_, stream_, config_.activation, {floats_of(x_), rows_.rows, limits_.hidden, limits_.hidden},
               {floats_of(y_), outputs, limits_.hidden, limits_.hidden}, floats_of(inner_), groups);
    stream_.synchronize();
  };
  if (!weights_->store) {
    run(groups_);
    return {};
  }
  if (rows_.layer <= last_layer_) {
    weights_->store->give_up_step();  // another rank may have failed it
    ++step_;
  }
  last_layer_ = rows_.layer;
  for (const StoodRows& place : rows_.stood) {
    weights_->store->count({.step = step_, .layer = rows_.layer, .experts = place.experts, .rows = place.rows});
  }
  weights_->store->begin({.step = step_,
                          .layer = rows_.layer,
                          .phase = rows_.prompt ? UsePhase::kPrefill : UsePhase::kDecode,
                          .experts = rows_.experts,
                          .rows = rows_.group_rows,
                          .drafted_rows = rows_.drafted});
  return run_leased(*weights_->store, rows_.experts, groups_, arrived_, run);
}

// An expert that cannot be read fails the step, not the rank.
Status RankExperts::answer(RankLine& line, std::uint64_t epoch, const Status& computed) {
  if (!computed.ok()) return line.send(MessageKind::kFailed, epoch, write_failure(computed), kNoDeadline);
  std::size_t bytes = rows_.x_rows.size() * static_cast<std::size_t>(limits_.hidden) * sizeof(float);
  if (!on_host_) {
    brought_.resize(bytes);
    stream_.download(brought_.data(), y_.data(), bytes);
    stream_.synchronize();
    RETURN_IF_ERROR(device_works());
    return line.send(MessageKind::kOutputs, epoch, brought_, kNoDeadline);
  }
  if (weights_->store) {
    const RankFigures figures = figures_of(*weights_->store);
    std::memcpy(y_.data() + bytes, &figures, sizeof figures);
    bytes += sizeof figures;
  }
  return line.send(MessageKind::kOutputs, epoch, {y_.data(), bytes}, kNoDeadline);
}

// Rows that are at this rank; false when the message is no such.
Result<bool> RankExperts::serve_rows(RankLine& line, const Message& asked) {
  if (!travelling_) return false;
  switch (asked.kind) {
    case MessageKind::kContext: RETURN_IF_ERROR(travelling_->context(asked.body)); return true;
    case MessageKind::kJoin: RETURN_IF_ERROR(travelling_->join(asked.body)); return true;
    case MessageKind::kLayer: {
      const Status ran = travelling_->layer(asked.body);
      if (ran.code() == Code::kDataLoss) return ran;
      RETURN_IF_ERROR(ran.ok() ? line.send(MessageKind::kLayerDone, asked.epoch, travelling_->answer(), kNoDeadline)
                               : line.send(MessageKind::kFailed, asked.epoch, write_failure(ran), kNoDeadline));
      travelling_->go_on();
      return true;
    }
    default: return false;
  }
}

Status RankExperts::serve(RankLine& line) {
  MessageBounds bounds;
  while (true) {
    bounds.most_bytes = std::max(max_rows_bytes(limits_), travelling_ ? travelling_->most_bytes() : 0);
    ASSIGN_OR_RETURN(const Message asked, line.receive(bounds, kNoDeadline));
    bounds.least_epoch = asked.epoch + 1;
    ASSIGN_OR_RETURN(const bool rows, serve_rows(line, asked));
    if (rows) continue;
    if (asked.kind == MessageKind::kPeerRows) {
      RETURN_IF_ERROR(serve_peer_rows(line, asked));
      continue;
    }
    if (asked.kind != MessageKind::kRows) return data_loss("a message that is no exchange");
    RETURN_IF_ERROR(take(asked.body));
    RETURN_IF_ERROR(answer(line, asked.epoch, compute()));
  }
}

}  // namespace foregate
