// One layer of a replay, in the order of the store: what was found is used first, the last expert before the others,
// then what was loaded, in the order in which the loads began; what was used may give way. Part of Replay.
#include <algorithm>

#include "engine/experts/replay.h"

namespace foregate {

void Replay::begin_layer(const LayerUse& use, const LayerUse& counted, bool reads_ahead) {
  found_.clear();
  missing_.clear();
  order_.clear();
  in_vain_.clear();
  begun_ = given_back_ = 0;
  const bool read_for = !ahead_.empty() && ahead_.front().layer == use.layer;
  const bool swept = reads_ahead && (read_for || is_sweep(use.experts.size(), sparse_layers_, figures_.slots));
  in_order_ = use.phase == UsePhase::kPrefill || swept;
  settle_ahead(use);
  for (const std::int32_t expert : use.experts) {
    const ExpertKey key{use.layer, ExpertId{expert}};
    if (pinned_[numbers_.at(key)]) continue;
    pinned_[numbers_.at(key)] = true;
    (resident_[numbers_.at(key)] ? found_ : missing_).push_back(key);
  }
  if (!in_order_ || !reads_ahead) return;
  forecast_.used(counted);
  LayerId next{use.layer.value + 1};
  while (next.value < numbers_.layers() && numbers_.experts(next) == 0) ++next.value;
  if (next.value < numbers_.layers()) forecast_.worth_reading(next, forecast_.rows_of(counted), wanted_);
}

void Replay::settle_ahead(const LayerUse& use) {
  wanted_.clear();
  wanted_next_ = 0;
  kept_all_ = false;
  for (const ExpertKey key : ahead_) {
    const bool used =
        key.layer == use.layer && std::binary_search(use.experts.begin(), use.experts.end(), key.expert.value);
    if (used && !in_order_) continue;
    (used ? order_ : in_vain_).push_back(key);
    pinned_[numbers_.at(key)] = true;
  }
  figures_.ahead_wasted += in_vain_.size();
  ahead_.clear();
}

void Replay::load(const LayerUse& use) {
  for (auto& keys : may_go_) keys.clear();
  note_held(use.layer);
  if (!wanted_.empty() && pool_of(wanted_[0].layer) != pool_of(use.layer)) note_held(wanted_[0].layer);
  auto& may_go = may_go_[pool_of(use.layer)];
  fill(use.layer);
  for (auto key = found_.rbegin(); key != found_.rend(); ++key) {
    may_go.insert({policy_->keep_value(*key), *key});
    fill(use.layer);
  }
  for (; given_back_ < order_.size();) {
    const ExpertKey key = order_[given_back_++];
    may_go.insert({policy_->keep_value(key), key});
    fill(use.layer);
  }
}

void Replay::note_held(LayerId layer) {
  const std::size_t pool = pool_of(layer);
  for (const ExpertKey key : pools_[pool].held) {
    if (!pinned_[numbers_.at(key)]) may_go_[pool].insert({policy_->keep_value(key), key});
  }
}

// Begins loads of the layer, in order a window of them, and then those of the next one.
void Replay::fill(LayerId layer) {
  for (; begun_ < missing_.size(); ++begun_) {
    if (in_order_ && order_.size() - given_back_ + ahead_.size() >= window_) return;
    if (!take(layer)) return;
    hold(missing_[begun_]);
    order_.push_back(missing_[begun_]);
  }
  if (wanted_next_ < wanted_.size()) read_ahead();
}

void Replay::read_ahead() {
  const std::size_t pool = pool_of(wanted_[0].layer);
  for (const ExpertKey key : wanted_) {
    if (!kept_all_ && resident_[numbers_.at(key)]) may_go_[pool].erase({policy_->keep_value(key), key});
  }
  kept_all_ = true;
  for (; wanted_next_ < wanted_.size(); ++wanted_next_) {
    const ExpertKey key = wanted_[wanted_next_];
    if (resident_[numbers_.at(key)]) continue;
    if (order_.size() - given_back_ + ahead_.size() >= window_) return;
    if (ahead_.size() >= most_ahead(pools_[pool].slots) || !take(key.layer)) return;
    hold(key);
    ahead_.push_back(key);
    ++figures_.ahead;
  }
}

// An empty slot for an expert of the layer; false when none may be given up.
bool Replay::take(LayerId layer) {
  const Pool& pool = pools_[pool_of(layer)];
  auto& may_go = may_go_[pool_of(layer)];
  if (pool.held.size() < pool.slots) return true;
  if (may_go.empty()) return false;
  const ExpertKey victim = may_go.begin()->second;
  may_go.erase(may_go.begin());
  drop(victim);
  ++figures_.evictions;
  return true;
}

void Replay::hold(ExpertKey key) {
  pools_[pool_of(key.layer)].held.push_back(key);
  resident_[numbers_.at(key)] = true;
}

void Replay::drop(ExpertKey key) {
  std::vector<ExpertKey>& held = pools_[pool_of(key.layer)].held;
  held.erase(std::find(held.begin(), held.end(), key));
  resident_[numbers_.at(key)] = false;
}

}  // namespace foregate
