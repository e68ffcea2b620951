#include "engine/experts/replay.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <utility>

#include "engine/experts/expert_store.h"

namespace foregate {

double ReplayFigures::hit_rate() const {
  const double asked = static_cast<double>(hits) + static_cast<double>(misses);
  return asked > 0 ? static_cast<double>(hits) / asked : 0.0;
}

ExpertSizes sizes_of(const TraceInfo& info) {
  ExpertSizes sizes;
  for (std::size_t i = 0; i < info.experts.size(); ++i) {
    if (info.experts[i] > 0) sizes[info.expert_bytes[i]] += static_cast<std::size_t>(info.experts[i]);
  }
  return sizes;
}

void add_uses(const TraceStep& step, FutureUses& future) {
  DistinctExperts distinct;
  CountedUse counted;
  for (const TraceLayer& layer : step.layers) {
    find_distinct(step, layer, distinct);
    const LayerUse use{.layer = layer.layer,
                       .phase = step.phase,
                       .experts = distinct.experts,
                       .rows = distinct.rows,
                       .drafted_rows = distinct.drafted_rows};
    future.add(layer.layer, counted.of(use).experts);
  }
  for (std::int32_t place = 1; place <= longest_stood(step); ++place) {
    for (const TraceLayer& layer : step.layers) {
      find_stood(step, layer, place, distinct);
      future.add(layer.layer, distinct.experts);
    }
  }
}

Replay::Replay(const TraceInfo& info, const ReplayOptions& options)
    : options_(options),
      numbers_(info.experts),
      expert_bytes_(info.expert_bytes),
      resident_(numbers_.size()),
      pinned_(numbers_.size()),
      forecast_(info.experts, info.top_k, options.start == ReplayStart::kCold ? UseCounters{} : info.counters) {}

Result<Replay> Replay::create(const TraceInfo& info, const ReplayOptions& options) {
  const ExpertSizes sizes = sizes_of(info);
  if (sizes.empty() || sizes.begin()->first == 0) {
    return invalid_argument("the trace has no experts, or they have no size", "trace");
  }
  Replay replay(info, options);
  EvictionOptions policy;
  policy.experts = info.experts;
  policy.top_k = info.top_k;
  policy.future = options.future;
  if (options.start != ReplayStart::kCold) policy.counters = &info.counters;
  policy.expert_bytes = info.expert_bytes;
  ASSIGN_OR_RETURN(const auto groups, plan_slots(sizes, info.top_k, options.budget_bytes));
  for (const SlotGroup& group : groups) {
    replay.pools_.push_back({.bytes = group.bytes, .slots = group.slots, .held = {}});
    replay.figures_.slots += group.slots;
    replay.figures_.slot_bytes += group.slots * group.bytes;
  }
  policy.slots = replay.figures_.slots;
  ASSIGN_OR_RETURN(replay.policy_, make_eviction_policy(options.policy, policy));
  for (const std::uint64_t bytes : info.expert_bytes) {
    const auto has = [bytes](const Pool& pool) { return pool.bytes == bytes; };
    const auto pool = std::find_if(replay.pools_.begin(), replay.pools_.end(), has);
    replay.pool_of_.push_back(static_cast<std::size_t>(pool - replay.pools_.begin()));
  }
  replay.window_ = prompt_window(replay.figures_.slots);
  replay.sparse_layers_ = static_cast<std::size_t>(
      std::count_if(info.experts.begin(), info.experts.end(), [](std::int32_t experts) { return experts > 0; }));
  replay.may_go_.resize(replay.pools_.size());
  replay.begin_with(info);
  return replay;
}

void Replay::begin_with(const TraceInfo& info) {
  std::vector<ExpertKey> keys;
  if (options_.start == ReplayStart::kWarm) keys = warm_order(numbers_, info.counters);
  if (options_.start == ReplayStart::kTrace && !info.resident.empty()) {
    keys = figures_.slots == info.slots ? info.resident : warm_order(numbers_, info.counters);
  }
  for (const ExpertKey key : keys) {
    Pool& pool = pools_[pool_of_[static_cast<std::size_t>(key.layer.value)]];
    if (pool.held.size() == pool.slots) continue;
    pool.held.push_back(key);
    resident_[numbers_.at(key)] = true;
    ++figures_.first_experts;
  }
}

void Replay::run(const TraceStep& step) {
  for (std::size_t row = 0; row < step.requests.size(); ++row) figures_.tokens += step.counts(row) ? 1 : 0;
  for (const TraceLayer& layer : step.layers) run_layer(step, layer);
  for (std::int32_t place = 1; place <= longest_stood(step); ++place) {
    for (const TraceLayer& layer : step.layers) {
      find_stood(step, layer, place, distinct_);
      policy_->used({.step = step.step, .layer = layer.layer, .experts = distinct_.experts, .rows = distinct_.rows});
    }
  }
}

void Replay::run_layer(const TraceStep& step, const TraceLayer& layer) {
  find_distinct(step, layer, distinct_);
  const LayerUse use{.step = step.step,
                     .layer = layer.layer,
                     .phase = step.phase,
                     .experts = distinct_.experts,
                     .rows = distinct_.rows,
                     .decode_rows = distinct_.decode_rows,
                     .drafted_rows = distinct_.drafted_rows};
  const LayerUse counted = counted_.of(use);
  policy_->used(counted);
  begin_layer(use, counted, layer.reads_ahead);
  const std::size_t missed = missing_.size() + order_.size();
  figures_.hits += found_.size();
  figures_.misses += missed;
  figures_.missed_bytes += missed * pools_[pool_of(layer.layer)].bytes;
  if (options_.costs != nullptr) add_stall(layer, missed);
  if (!layer.streamed && (missed > 0 || !wanted_.empty())) load(use);
  for (const ExpertKey key : in_vain_) drop(key);
  std::fill(pinned_.begin(), pinned_.end(), false);
}

// Loads begin together; what is there is computed meanwhile, and each late one when it arrives. What is not covered is
// the time of the loads beyond the computation of all but the last.
void Replay::add_stall(const TraceLayer& layer, std::uint64_t missed) {
  if (missed == 0) return;
  const std::uint64_t bytes = expert_bytes_[static_cast<std::size_t>(layer.layer.value)];
  const auto experts = static_cast<double>(distinct_.experts.size());
  const double rows = std::accumulate(distinct_.rows.begin(), distinct_.rows.end(), 0.0) / experts;
  const double load = options_.costs->load_seconds(static_cast<double>(missed), bytes);
  figures_.stall_seconds += std::max(0.0, load - options_.costs->kernel_seconds(experts - 1, bytes, rows));
}

}  // namespace foregate
