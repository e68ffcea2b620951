#include "engine/experts/replay.h"

#include <algorithm>
#include <numeric>

#include "kernels/api/check.h"

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
  for (const TraceLayer& layer : step.layers) {
    find_distinct(layer.ids, distinct);
    future.add(layer.layer, distinct.experts);
  }
}

Replay::Replay(const TraceInfo& info, const ReplayOptions& options)
    : options_(options),
      numbers_(info.experts),
      expert_bytes_(info.expert_bytes),
      resident_(numbers_.size()),
      needed_(numbers_.size()) {}

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
  ASSIGN_OR_RETURN(replay.policy_, make_eviction_policy(options.policy, policy));
  ASSIGN_OR_RETURN(const auto groups, plan_slots(sizes, info.top_k, options.budget_bytes));
  for (const SlotGroup& group : groups) {
    replay.pools_.push_back({.bytes = group.bytes, .slots = group.slots, .held = {}});
    replay.figures_.slots += group.slots;
    replay.figures_.slot_bytes += group.slots * group.bytes;
  }
  for (const std::uint64_t bytes : info.expert_bytes) {
    const auto has = [bytes](const Pool& pool) { return pool.bytes == bytes; };
    const auto pool = std::find_if(replay.pools_.begin(), replay.pools_.end(), has);
    replay.pool_of_.push_back(static_cast<std::size_t>(pool - replay.pools_.begin()));
  }
  replay.fill(info);
  return replay;
}

void Replay::fill(const TraceInfo& info) {
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
  figures_.tokens += step.requests.size();
  for (const TraceLayer& layer : step.layers) run_layer(step, layer);
}

void Replay::run_layer(const TraceStep& step, const TraceLayer& layer) {
  find_distinct(layer.ids, distinct_);
  policy_->used({.step = step.step,
                 .layer = layer.layer,
                 .phase = step.phase,
                 .experts = distinct_.experts,
                 .rows = distinct_.rows});
  Pool& pool = pools_[pool_of_[static_cast<std::size_t>(layer.layer.value)]];
  std::vector<ExpertKey> missing;
  for (const std::int32_t expert : distinct_.experts) {
    const ExpertKey key{layer.layer, ExpertId{expert}};
    needed_[numbers_.at(key)] = true;
    if (!resident_[numbers_.at(key)]) missing.push_back(key);
  }
  figures_.hits += distinct_.experts.size() - missing.size();
  figures_.misses += missing.size();
  figures_.missed_bytes += missing.size() * pool.bytes;
  if (options_.costs != nullptr) add_stall(layer, missing.size());
  const bool prompt = step.phase == UsePhase::kPrefill;
  if (!layer.streamed && prompt) load_of_prompt(pool, missing, layer.layer);
  if (!layer.streamed && !prompt) load(pool, missing, layer.layer);
  for (const std::int32_t expert : distinct_.experts) needed_[numbers_.at({layer.layer, ExpertId{expert}})] = false;
}

bool Replay::goes_later(const Victim& a, const Victim& b) {
  return a.value != b.value ? a.value > b.value : b.key < a.key;
}

// What may be given up, the first to go last: experts that the layer does not need, or those of it that already ran.
std::vector<Replay::Victim> Replay::victims(const Pool& pool, LayerId layer, bool of_layer) const {
  std::vector<Victim> all;
  for (const ExpertKey key : pool.held) {
    const bool needed = key.layer == layer && needed_[numbers_.at(key)];
    if (!needed || of_layer) all.push_back({policy_->keep_value(key), key});
  }
  std::sort(all.begin(), all.end(), goes_later);
  return all;
}

// Slot by slot in the order of the experts, as the store does; when every slot holds an expert of the layer, those have
// run and give way to the next wave.
void Replay::load(Pool& pool, std::vector<ExpertKey>& missing, LayerId layer) {
  std::vector<Victim> may_go;
  bool looked = false;
  for (const ExpertKey key : missing) {
    if (pool.held.size() == pool.slots) {
      if (!looked) may_go = victims(pool, layer, false);
      if (may_go.empty()) may_go = victims(pool, layer, true);
      looked = true;
      const ExpertKey victim = may_go.back().key;
      may_go.pop_back();
      evict(pool, victim);
    }
    pool.held.push_back(key);
    resident_[numbers_.at(key)] = true;
  }
}

// kPromptWindow loads at a time; what was there is given back first, then each load in turn, and may go for the next
// one.
void Replay::load_of_prompt(Pool& pool, const std::vector<ExpertKey>& missing, LayerId layer) {
  if (missing.empty()) return;
  std::vector<Victim> may_go = victims(pool, layer, false);
  std::vector<ExpertKey> in_use;  // in the order in which they are given back
  for (const std::int32_t expert : distinct_.experts) {
    const ExpertKey key{layer, ExpertId{expert}};
    if (resident_[numbers_.at(key)]) in_use.push_back(key);
  }
  const std::size_t here = in_use.size();
  std::size_t begun = 0;
  const auto begin = [&](std::size_t used) {
    for (; begun < missing.size() && begun - used < kPromptWindow; ++begun) {
      if (pool.held.size() == pool.slots && may_go.empty()) return;
      if (pool.held.size() == pool.slots) {
        evict(pool, may_go.back().key);
        may_go.pop_back();
      }
      pool.held.push_back(missing[begun]);
      resident_[numbers_.at(missing[begun])] = true;
      in_use.push_back(missing[begun]);
    }
  };
  begin(0);
  for (std::size_t i = 0; i < in_use.size(); ++i) {
    const Victim given_back{policy_->keep_value(in_use[i]), in_use[i]};
    may_go.insert(std::lower_bound(may_go.begin(), may_go.end(), given_back, goes_later), given_back);
    begin(i < here ? 0 : i - here + 1);
  }
}

void Replay::evict(Pool& pool, ExpertKey key) {
  resident_[numbers_.at(key)] = false;
  pool.held.erase(std::find(pool.held.begin(), pool.held.end(), key));
  ++figures_.evictions;
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
