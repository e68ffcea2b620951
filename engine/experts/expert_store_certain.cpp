// What is known of a layer before it runs. Part of ExpertStore.
#include <algorithm>

#include "engine/experts/expert_store.h"

namespace foregate {

void ExpertStore::announce(LayerId layer, std::span<const std::int32_t> experts, bool load) {
  forget_certain();
  for (const std::int32_t expert : experts) {
    const ExpertKey key{layer, ExpertId{expert}};
    certain_.push_back({key});
    const Place& place = places_[numbers_.at(key)];
    if (load && place.slot >= 0) pools_[place.pool].keep(static_cast<std::size_t>(place.slot));
  }
  stats_.certain += experts.size();
  certain_next_ = load ? 0 : certain_.size();
  start_certain();
}

// As many as find a slot, in order; the running layer's own loads come first.
void ExpertStore::start_certain() {
  if (certain_next_ == certain_.size() || !pending_.empty()) return;
  jobs_.clear();
  for (; certain_next_ < certain_.size(); ++certain_next_) {
    Certain& certain = certain_[certain_next_];
    if (held(certain.key)) continue;
    if (!start_load(certain.key, true)) break;
    jobs_.back().certain = true;
    certain.loaded = true;
    ++stats_.certain_hints;
    stats_.certain_bytes.asked += bytes_of(certain.key);
  }
  if (!jobs_.empty()) transfer_->submit(jobs_);
}

// Their layer runs: from here on they are kept as all that it uses.
void ExpertStore::settle_certain(const LayerUse& use) {
  for (Certain& certain : certain_) {
    if (certain.key.layer != use.layer) continue;
    const bool right = std::binary_search(use.experts.begin(), use.experts.end(), certain.key.expert.value);
    stats_.certain_right += right;
    if (!certain.loaded || !held(certain.key)) continue;
    const bool there = resident(certain.key);
    ++(there ? stats_.certain_useful : stats_.certain_late);
    if (!right) continue;
    ++ahead_counts_[numbers_.at(certain.key)].useful;
    (there ? stats_.certain_bytes.useful : stats_.certain_bytes.late) += bytes_of(certain.key);
    certain.loaded = false;
  }
  forget_certain();
}

void ExpertStore::forget_certain() {
  for (const Certain& certain : certain_) {
    const Place& place = places_[numbers_.at(certain.key)];
    if (place.slot < 0) continue;
    if (certain.loaded) {
      ++ahead_counts_[numbers_.at(certain.key)].wasted;
      waste(certain.key, stats_.certain_bytes);
    }
    pools_[place.pool].used(static_cast<std::size_t>(place.slot));
  }
  certain_.clear();
  certain_next_ = 0;
}

}  // namespace foregate
