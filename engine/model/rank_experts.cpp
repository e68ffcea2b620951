#include "engine/model/rank_experts.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <numeric>
#include <string>
#include <utility>

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
  // Experts in a store take whole steps: a store runs a layer once a step.
  const bool halves = store == nullptr && takes_halves(options.overlap);
  RETURN_IF_ERROR(made->allocate(device, halves));
  if (travels) {
    ASSIGN_OR_RETURN(made->travelling_, RankRows::create(made->config_, *made->weights_, rank, plan,
                                                         options.max_batched_tokens, device, ops, stream));
  }
  return made;
}

std::int64_t RankExperts::tail_rows() const {
  const auto row = limits_.hidden * static_cast<std::int64_t>(sizeof(float));
  return (static_cast<std::int64_t>(kMaxAnswerTailBytes) + row - 1) / row;
}

Status RankExperts::make_room(Device& device, std::int64_t rows, Room& room) {
  room.rows = rows;
  room.outputs = rows * limits_.top_k + kMaxExchangeParts * tail_rows();
  const auto bytes = [&](std::int64_t count) {
    return static_cast<std::size_t>(count * limits_.hidden) * sizeof(float);
  };
  room.x = device.allocate(bytes(rows));
  room.y = device.allocate(bytes(room.outputs));
  return room.x && room.y ? Status() : resource_exhausted("no memory for the rows of a step");
}

// A second half is no larger than the first.
Status RankExperts::allocate(Device& device, bool halves) {
  RETURN_IF_ERROR(make_room(device, limits_.max_rows, rooms_[0]));
  if (halves && limits_.max_rows > 1) RETURN_IF_ERROR(make_room(device, limits_.max_rows / 2, rooms_[1]));
  inner_ = device.allocate(static_cast<std::size_t>(limits_.max_rows * limits_.top_k * widest_expert(config_)) *
                           sizeof(float));
  if (!inner_) return resource_exhausted("no memory for the rows of a step");
  identity_.resize(static_cast<std::size_t>(rooms_[0].outputs));
  std::iota(identity_.begin(), identity_.end(), 0);
  return {};
}

std::int64_t RankExperts::weight_bytes() const {
  std::int64_t bytes = 0;
  for (const Memory& memory : weights_->memory) bytes += static_cast<std::int64_t>(memory.bytes());
  if (weights_->store) bytes += static_cast<std::int64_t>(weights_->store->stats().slot_bytes);
  return bytes;
}

// Parts of an exchange come one after the other, and each brings experts behind those of the one before.
Status RankExperts::check_turn(const ExpertRows& rows) const {
  const ExchangePart& due = open_.part;
  if (rows.part.number != due.number) {
    return data_loss("part " + std::to_string(rows.part.number) + " of an exchange comes where part " +
                     std::to_string(due.number) + " is due");
  }
  if (due.number == 0) return {};
  if (rows.part.of == due.of && rows.part.half == due.half && rows.layer == open_.layer &&
      rows.experts.front() > open_.last_expert)
    return {};
  return data_loss("a part belongs to another exchange than the one before it");
}

Status RankExperts::check_held(const ExpertRows& rows) const {
  if (!config_.layers[static_cast<std::size_t>(rows.layer.value)].sparse) {
    return data_loss("an exchange is of a layer without experts");
  }
  if (weights_->store) return {};
  for (const std::int32_t expert : rows.experts) {
    if (weights_->experts.get({rows.layer, ExpertId{expert}}).gate.data != nullptr) continue;
    return data_loss("expert " + std::to_string(expert) + " of layer " + std::to_string(rows.layer.value) +
                     " is not on this rank");
  }
  return {};
}

Status RankExperts::take(const Message& asked, RankPipeline& pipeline, RankJob& job) {
  std::span<const std::byte> values;
  RETURN_IF_ERROR(read_rows(asked.body, limits_, open_.rows, job.rows, values));
  RETURN_IF_ERROR(check_turn(job.rows));
  RETURN_IF_ERROR(check_held(job.rows));
  const ExpertRows& rows = job.rows;
  const ExchangePart& part = rows.part;
  job.room = part.half == 2 ? 1 : 0;
  Room& room = rooms_[job.room];
  if (part.number == 0) {
    open_ = {};
    RETURN_IF_ERROR(pipeline.wait_free(job.room));
    if (part.alone()) RETURN_IF_ERROR(pipeline.wait_free(1));  // it is computed here
  }
  const auto outputs = static_cast<std::int64_t>(rows.x_rows.size());
  if (open_.rows + rows.rows > room.rows || open_.outputs + outputs > room.rows * limits_.top_k) {
    return data_loss("an exchange of " + std::to_string(open_.rows + rows.rows) + " rows and " +
                     std::to_string(open_.outputs + outputs) + " outputs has no room");
  }
  job.epoch = asked.epoch;
  job.first_out = open_.outputs + part.number * tail_rows();
  std::byte* const to = room.x.data() + static_cast<std::size_t>(open_.rows * limits_.hidden) * sizeof(float);
  if (on_host_) {
    std::memcpy(to, values.data(), values.size());
  } else if (!part.alone()) {
    return data_loss("a rank on a GPU takes its rows in one message");
  } else {
    stream_.upload(to, values.data(), values.size());
  }
  open_.part = part;
  open_.part.number = part.number + 1 == part.of ? 0 : part.number + 1;
  open_.layer = rows.layer;
  open_.rows += rows.rows;
  open_.outputs += outputs;
  open_.last_expert = rows.experts.back();
  return {};
}

// Groups without weights; where all are in memory, with them.
void RankExperts::make_groups(std::span<RankJob> jobs) {
  groups_.clear();
  for (const RankJob& job : jobs) {
    std::int64_t first = 0;
    for (std::size_t g = 0; g < job.rows.experts.size(); ++g) {
      groups_.push_back({.weights = {},
                         .x_rows = job.rows.x_rows.data() + first,
                         .out_rows = identity_.data() + job.first_out + first,
                         .rows = job.rows.group_rows[g]});
      first += job.rows.group_rows[g];
      if (weights_->store) continue;
      groups_.back().weights = weights_->experts.get({job.rows.layer, ExpertId{job.rows.experts[g]}});
    }
  }
}

void RankExperts::begin_store(std::span<RankJob> jobs) {
  const ExpertRows& first = jobs.front().rows;
  if (first.layer <= last_layer_) {
    weights_->store->give_up_step();  // another rank may have failed it
    ++step_;
  }
  last_layer_ = first.layer;
  for (const StoodRows& place : first.stood) {
    weights_->store->count({.step = step_, .layer = first.layer, .experts = place.experts, .rows = place.rows});
  }
  for (std::vector<std::int32_t>* numbers : {&experts_, &group_rows_, &drafted_}) numbers->clear();
  for (const RankJob& job : jobs) {
    experts_.insert(experts_.end(), job.rows.experts.begin(), job.rows.experts.end());
    group_rows_.insert(group_rows_.end(), job.rows.group_rows.begin(), job.rows.group_rows.end());
    drafted_.insert(drafted_.end(), job.rows.drafted.begin(), job.rows.drafted.end());
  }
  weights_->store->begin({.step = step_,
                          .layer = first.layer,
                          .phase = first.prompt ? UsePhase::kPrefill : UsePhase::kDecode,
                          .experts = experts_,
                          .rows = group_rows_,
                          .drafted_rows = drafted_});
}

Status RankExperts::run(std::span<RankJob> jobs) {
  const Room& room = rooms_[jobs.front().room];
  const ExpertRows& last = jobs.back().rows;
  make_groups(jobs);
  const auto run = [&](std::span<ExpertGroup> groups) {
    run_groups(ops_, stream_, config_.activation,
               {floats_of(room.x), last.rows_before + last.rows, limits_.hidden, limits_.hidden},
               {floats_of(room.y), room.outputs, limits_.hidden, limits_.hidden}, floats_of(inner_), groups);
    stream_.synchronize();
  };
  if (!weights_->store) {
    run(groups_);
    return {};
  }
  begin_store(jobs);
  return run_leased(*weights_->store, experts_, groups_, arrived_, run);
}

void RankExperts::compute(std::span<RankJob> jobs) {
  const auto start = std::chrono::steady_clock::now();
  const Status ran = run(jobs);
  const auto took = std::chrono::steady_clock::now() - start;
  for (RankJob& job : jobs) job.computed = ran;
  jobs.back().compute_ns =
      static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(took).count());
}

// An expert that cannot be read fails the step, not the rank.
Status RankExperts::answer(RankLine& line, RankJob& job) {
  if (!job.computed.ok()) return line.send(MessageKind::kFailed, job.epoch, write_failure(job.computed), kNoDeadline);
  const std::size_t row = static_cast<std::size_t>(limits_.hidden) * sizeof(float);
  std::byte* const from = rooms_[job.room].y.data() + static_cast<std::size_t>(job.first_out) * row;
  std::size_t bytes = job.rows.x_rows.size() * row;
  AnswerTail tail{.compute_ns = job.compute_ns, .figures = {}};
  if (!on_host_) {
    brought_.resize(bytes + kMaxAnswerTailBytes);
    stream_.download(brought_.data(), from, bytes);
    stream_.synchronize();
    RETURN_IF_ERROR(device_works());
    bytes += write_tail(tail, brought_.data() + bytes);
    return line.send(MessageKind::kOutputs, job.epoch, {brought_.data(), bytes}, kNoDeadline);
  }
  if (weights_->store) tail.figures = figures_of(*weights_->store);
  bytes += write_tail(tail, from + bytes);
  return line.send(MessageKind::kOutputs, job.epoch, {from, bytes}, kNoDeadline);
}

// One that is alone is computed and answered here: nothing else comes before rank 0 has its answer. A store gets all
// parts of an exchange at once, so that it is asked for a layer once a step.
Status RankExperts::serve_part(RankLine& line, RankPipeline& pipeline, const Message& asked) {
  RankJob job;
  RETURN_IF_ERROR(take(asked, pipeline, job));
  if (!job.rows.part.alone() && !weights_->store) {
    pipeline.push(std::move(job));
    return {};
  }
  held_.push_back(std::move(job));
  if (open_.part.number > 0) return {};
  compute(held_);
  for (RankJob& held : held_) RETURN_IF_ERROR(answer(line, held));
  held_.clear();
  return {};
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
  open_ = {};
  held_.clear();
  RankPipeline pipeline(
      line,
      [this](RankJob& job) {
        compute({&job, 1});
      },
      [&](RankJob& job) { return answer(line, job); });
  MessageBounds bounds;
  while (true) {
    bounds.most_bytes = std::max(max_rows_bytes(limits_), travelling_ ? travelling_->most_bytes() : 0);
    bounds.most_epoch = open_.part.number > 0 ? bounds.least_epoch : ~std::uint64_t{0};
    ASSIGN_OR_RETURN(const Message asked, line.receive(bounds, kNoDeadline));
    bounds.least_epoch = asked.epoch + 1;
    if (asked.kind != MessageKind::kRows && open_.part.number > 0) {
      return data_loss("another message comes between the parts of an exchange");
    }
    ASSIGN_OR_RETURN(const bool rows, serve_rows(line, asked));
    if (rows) continue;
    if (asked.kind == MessageKind::kPeerRows) {
      RETURN_IF_ERROR(serve_peer_rows(line, asked));
      continue;
    }
    if (asked.kind != MessageKind::kRows) return data_loss("a message that is no exchange");
    RETURN_IF_ERROR(serve_part(line, pipeline, asked));
  }
}

}  // namespace foregate
