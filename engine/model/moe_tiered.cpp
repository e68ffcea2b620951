#include "engine/model/moe_tiered.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "engine/model/draft_routes.h"
#include "engine/model/expert_tally.h"
#include "engine/model/moe_block.h"
#include "engine/model/route_tap.h"
#include "engine/model/routing.h"

namespace foregate {
namespace {

constexpr std::size_t kFetchesTogether = 4;  // the computation with them waits for all of them

// What of a layer the device lacks, as the store is asked for it.
struct Missed {
  std::vector<std::int32_t> experts, rows, decode_rows, drafted_rows;
  std::vector<bool> on_host;

  LayerUse use(const LayerUse& all) const {
    LayerUse use = all;
    use.experts = experts;
    use.rows = rows;
    use.decode_rows = decode_rows;
    use.drafted_rows = drafted_rows;
    return use;
  }
  bool host(std::int32_t expert) const {
    const auto at = std::lower_bound(experts.begin(), experts.end(), expert);
    return on_host[static_cast<std::size_t>(at - experts.begin())];
  }
  bool any_on_host() const { return std::find(on_host.begin(), on_host.end(), true) != on_host.end(); }
};

class TieredLayer {
 public:
  TieredLayer(const Step& step, LayerId id, const ModelWeights& weights, HostExperts* host)
      : step_(step), id_(id), weights_(weights), store_(*weights.store), tier_(*weights.tier), host_(host) {}

  void begin(const LayerUse& use);
  void run_hits();
  Result<int> run_missed();

 private:
  ExpertGroup& group(std::int32_t expert) {
    StepScratch& s = step_.scratch;
    const auto at = std::lower_bound(s.group_experts.begin(), s.group_experts.end(), expert);
    return s.groups[static_cast<std::size_t>(at - s.group_experts.begin())];
  }
  void choose_places();
  void run_on_device();
  void bring(std::vector<Lease>& leases);
  void run_on_host(std::vector<Lease>& leases);

  const Step& step_;
  LayerId id_;
  const ModelWeights& weights_;
  ExpertStore& store_;
  DeviceTier& tier_;
  HostExperts* host_;
  Missed missed_;
  std::vector<ExpertKey> keys_;  // on the device and not computed yet
};

void TieredLayer::begin(const LayerUse& use) {
  tier_.begin(use, missed_.experts);
  for (const std::int32_t expert : use.experts) keys_.push_back({id_, ExpertId{expert}});
  std::size_t next = 0;
  std::size_t kept = 0;
  for (std::size_t i = 0; i < use.experts.size(); ++i) {
    if (next == missed_.experts.size() || missed_.experts[next] != use.experts[i]) {
      keys_[kept++] = {id_, ExpertId{use.experts[i]}};
      continue;
    }
    ++next;
    missed_.rows.push_back(use.rows[i]);
    if (!use.decode_rows.empty()) missed_.decode_rows.push_back(use.decode_rows[i]);
    if (!use.drafted_rows.empty()) missed_.drafted_rows.push_back(use.drafted_rows[i]);
  }
  keys_.resize(kept);
  choose_places();
  if (!store_.holds_all()) tier_.settle();  // a layer may wait for the slots of the store
  store_.begin(missed_.use(use));
}

void TieredLayer::choose_places() {
  const bool all = tier_.on_host(id_) || tier_.rule() == MissRule::kCompute;
  missed_.on_host.assign(missed_.experts.size(), all);
  if (all || tier_.rule() == MissRule::kFetch || host_ == nullptr || !weights_.costs) return;
  const ExpertTable& table = store_.table();
  const ExpertNumbers numbers(table.experts);
  std::vector<Miss> misses;
  for (std::size_t i = 0; i < missed_.experts.size(); ++i) {
    const std::uint64_t bytes = table.extents[numbers.at({id_, ExpertId{missed_.experts[i]}})].bytes;
    misses.push_back({.fetch_seconds = tier_.fetch_seconds(bytes),
                      .compute_seconds = weights_.costs->costs().kernel_seconds(1, bytes, missed_.rows[i])});
  }
  missed_.on_host = split_misses(misses);
}

void TieredLayer::run_hits() {
  if (missed_.any_on_host()) host_->bring_input(step_);
  run_on_device();
}

// The experts in keys_, which are pinned.
void TieredLayer::run_on_device() {
  if (keys_.empty()) return;
  StepScratch& s = step_.scratch;
  s.arrived_groups.clear();
  for (const ExpertKey& key : keys_) {
    s.arrived_groups.push_back(group(key.expert.value));
    s.arrived_groups.back().weights = tier_.weights(key);
  }
  tier_.hold_compute();
  run_groups(step_, s.arrived_groups);
  tier_.computed(keys_);
  keys_.clear();
}

void TieredLayer::bring(std::vector<Lease>& leases) {
  for (Lease& lease : leases) {
    if (missed_.host(lease.expert().value)) continue;
    const ExpertKey key = lease.key();
    if (!tier_.fetch(std::move(lease))) {
      run_on_device();
      CHECK(tier_.fetch(std::move(lease)));
    }
    keys_.push_back(key);
    if (keys_.size() == kFetchesTogether) run_on_device();
  }
  run_on_device();
}

void TieredLayer::run_on_host(std::vector<Lease>& leases) {
  std::vector<ExpertGroup> groups;
  for (const Lease& lease : leases) {
    if (!lease || !missed_.host(lease.expert().value)) continue;
    groups.push_back(group(lease.expert().value));
    groups.back().weights = lease.weights();
  }
  if (groups.empty()) return;
  host_->run(step_, groups);
  tier_.count_host(groups.size());
}

Result<int> TieredLayer::run_missed() {
  std::size_t left = missed_.experts.size();
  if (left > 0 && !store_.holds_all()) tier_.settle();  // of copies ahead: the layer may need the slots
  while (true) {
    auto leases = store_.next();
    if (!leases.ok()) {
      tier_.drop();
      return leases.status();
    }
    if (leases->empty()) break;
    left -= leases->size();
    bring(*leases);  // before the host computes: copies and kernels go on beside it
    run_on_host(*leases);
    leases->clear();
    if (left > 0) tier_.settle();
  }
  if (!store_.holds_all()) tier_.settle();
  return static_cast<int>(step_.scratch.groups.size());
}

}  // namespace

Result<int> run_moe_tiered(const Step& step, LayerId id, const ModelWeights& weights, HostExperts* host,
                           Lookahead* lookahead) {
  const LayerWeights& layer = weights.layers[static_cast<std::size_t>(id.value)];
  DeviceTier& tier = *weights.tier;
  route_layer(step, id, layer);
  group_by_expert(step);
  if (step.tally != nullptr) step.tally->used(step, id, weights.store.get(), &tier);
  if (step.tap != nullptr) step.tap->tell(step, id, nullptr);
  if (step.drafts != nullptr) step.drafts->note(step, id, weights.store.get(), &tier);
  TieredLayer run(step, id, weights, host);
  run.begin(use_of(step, id));
  const bool next_routed = route_next_layer(step, id, weights.layers);
  if (lookahead != nullptr) lookahead->after_routing(step, id, weights.layers, *weights.store, &tier);
  run.run_hits();
  if (next_routed && lookahead != nullptr) {
    lookahead->announce(step, LayerId{id.value + 1}, step.scratch.next_route, *weights.store, &tier);
  }
  ASSIGN_OR_RETURN(const int experts, run.run_missed());
  if (tier.on_host(id)) {
    host->combine(step);
    add_shared_expert(step, layer);
  } else {
    if (host != nullptr) host->send(step);
    combine_groups(step, layer);
  }
  return experts;
}

}  // namespace foregate
