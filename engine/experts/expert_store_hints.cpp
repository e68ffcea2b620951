// Guesses: loads ahead of use that may be in vain. Part of ExpertStore.
#include <algorithm>

#include "engine/experts/expert_store.h"

namespace foregate {

void ExpertStore::prefetch(std::span<const ExpertKey> keys, HintKind kind) {
  if (!pending_.empty()) return;
  jobs_.clear();
  for (const ExpertKey& key : keys) {
    if (hinted_.size() >= max_hints_) break;
    const Place& place = places_[numbers_.at(key)];
    const SlotPool& pool = pools_[place.pool];
    if (place.slot >= 0 || pool.ahead() >= pool.count() / kHintShare || !start_load(key, true)) continue;
    jobs_.back().stream = false;  // a prompt may have run last
    hinted_.push_back({key, kind});
    ++stats_.hints;
    stats_.token_hints += kind == HintKind::kToken ? 1 : 0;
    stats_.hint_bytes.asked += bytes_of(key);
  }
  if (!jobs_.empty()) transfer_->submit(jobs_);
}

// What was loaded ahead for this layer is used now or was loaded in vain.
void ExpertStore::settle_hints(const LayerUse& use) {
  std::erase_if(hinted_, [&](const Hint& hint) {
    const ExpertKey key = hint.key;
    if (key.layer != use.layer) return false;
    const Place& place = places_[numbers_.at(key)];
    if (!std::binary_search(use.experts.begin(), use.experts.end(), key.expert.value)) {
      drop_hint(hint);
      return true;
    }
    ++stats_.hints_useful;
    stats_.token_hints_useful += hint.kind == HintKind::kToken ? 1 : 0;
    ++ahead_counts_[numbers_.at(key)].useful;
    if (place.slot < 0) return true;
    (resident(key) ? stats_.hint_bytes.useful : stats_.hint_bytes.late) += bytes_of(key);
    pools_[place.pool].used(static_cast<std::size_t>(place.slot));
    return true;
  });
}

// What they loaded may be evicted like all else; what was not begun is not loaded.
void ExpertStore::forget_hints() {
  for (const Hint& hint : hinted_) drop_hint(hint);
  hinted_.clear();
}

void ExpertStore::count_wasted(const Hint& hint) {
  ++stats_.hints_wasted;
  stats_.token_hints_wasted += hint.kind == HintKind::kToken ? 1 : 0;
}

void ExpertStore::drop_hint(const Hint& hint) {
  const ExpertKey key = hint.key;
  count_wasted(hint);
  ++ahead_counts_[numbers_.at(key)].wasted;
  const Place& place = places_[numbers_.at(key)];
  if (place.slot < 0) return;
  waste(key, stats_.hint_bytes);
  pools_[place.pool].used(static_cast<std::size_t>(place.slot));
  if (!resident(key)) transfer_->cancel(numbers_.at(key));
}

// Of one that is on its way it is not known yet whether it will be read.
void ExpertStore::waste(ExpertKey key, HintBytes& bytes) {
  if (resident(key)) {
    bytes.wasted += bytes_of(key);
  } else {
    dropped_.push_back({numbers_.at(key), &bytes});
  }
}

// `awaited`: a layer that came meanwhile waits for it after all.
void ExpertStore::dropped_arrived(const LoadEnd& end, bool awaited) {
  const auto is = [&end](const Dropped& dropped) { return dropped.number == end.tag; };
  const auto dropped = std::find_if(dropped_.begin(), dropped_.end(), is);
  if (dropped == dropped_.end()) return;
  if (end.status.ok()) (awaited ? dropped->bytes->late : dropped->bytes->wasted) += table_.extents[end.tag].bytes;
  dropped_.erase(dropped);
}

}  // namespace foregate
