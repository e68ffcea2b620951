// What a layer of a prompt, or of a step that is swept, does otherwise: its loads are few at a time and handed out in
// the order in which they began, and when all of them have begun, those of the next layer follow, as far as it is
// likely to use them. Everything happens when leases are given back and not when reads end, so equal prompts leave
// equal slots (replay.cpp does the same). Part of ExpertStore.
#include <algorithm>

#include "engine/experts/expert_store.h"

namespace foregate {

bool ExpertStore::in_order(ExpertKey key) const {
  return std::find(order_.begin(), order_.end(), key) != order_.end();
}

bool ExpertStore::found(ExpertKey key) const {
  return resident(key) && !in_order(key);
}

// One for which others were read ahead too, narrow as it may be: what they are counted as must not depend on whether
// their reads have ended.
bool ExpertStore::sweeps(const LayerUse& use) const {
  if (!options_.sweep || use.phase != UsePhase::kDecode) return false;
  const bool read_for = !ahead_.empty() && ahead_.front().layer == use.layer;
  return read_for || is_sweep(use.experts.size(), sparse_layers_, stats_.slots);
}

void ExpertStore::begin_prompt(const LayerUse& use, const LayerUse& counted) {
  const bool swept = sweeps(use);
  stats_.sweeps += swept ? 1 : 0;
  in_order_ = use.phase == UsePhase::kPrefill || swept;
  order_.clear();
  handed_out_ = given_back_ = 0;
  settle_ahead(use);
  if (!in_order_ || !reads_ahead(use.phase)) return;
  forecast_.used(counted);
  LayerId next{use.layer.value + 1};
  while (next.value < numbers_.layers() && numbers_.experts(next) == 0) ++next.value;
  if (next.value == numbers_.layers()) return;
  forecast_.worth_reading(next, forecast_.rows_of(counted), wanted_);
  if (options_.own) std::erase_if(wanted_, [this](const ExpertKey& key) { return !options_.own(key); });
}

// What was read ahead for this layer is its own from here on, first in its order; what it does not use stays where it
// is until the layer has ended, since its read may be under way.
void ExpertStore::settle_ahead(const LayerUse& use) {
  unpin(kept_);
  wanted_.clear();
  wanted_next_ = 0;
  kept_all_ = false;
  for (const ExpertKey& key : ahead_) {
    const bool used =
        key.layer == use.layer && std::binary_search(use.experts.begin(), use.experts.end(), key.expert.value);
    const bool there = resident(key);
    ++(used ? stats_.ahead_useful : stats_.ahead_wasted);
    AheadCount& count = ahead_counts_[numbers_.at(key)];
    ++(used ? count.useful : count.wasted);
    if (!used) {
      in_vain_.push_back(key);
      if (!there) transfer_->cancel(numbers_.at(key));
    } else if (!in_order_) {  // another step than it was read for: one like all
      pool_of(key).unpin(slot_of(key));
    } else {
      order_.push_back(key);
      ++stats_.misses;
      if (there) continue;
      ++stats_.ahead_late;
      awaited_.push_back(key);
      joined_.push_back(key);
      transfer_->promote(numbers_.at(key));
    }
  }
  ahead_.clear();
}

bool ExpertStore::may_read_ahead(const SlotPool& pool) const {
  const auto in_pool = [&](const ExpertKey& key) { return &pools_[places_[numbers_.at(key)].pool] == &pool; };
  const auto held = std::count_if(ahead_.begin(), ahead_.end(), in_pool);
  return in_window() < window_ && static_cast<std::size_t>(held) < most_ahead(pool.count());
}

// Adds to jobs_. The running layer's own loads have all begun.
void ExpertStore::read_ahead() {
  if (!kept_all_) {
    for (const ExpertKey& key : wanted_) {
      if (!resident(key)) continue;
      pool_of(key).pin(slot_of(key));
      kept_.push_back(key);
    }
    kept_all_ = true;
  }
  for (; wanted_next_ < wanted_.size(); ++wanted_next_) {
    const ExpertKey key = wanted_[wanted_next_];
    if (held(key)) continue;
    SlotPool& pool = pool_of(key);
    if (!may_read_ahead(pool) || !start_load(key, false)) return;
    jobs_.back().hint = jobs_.back().certain = true;
    pool.pin(slot_of(key));
    ahead_.push_back(key);
    ++stats_.ahead;
  }
}

// Those that arrived, up to the first that did not, but no more than leaves half of the window to reads.
void ExpertStore::hand_over_in_order() {
  while (in_order_ && handed_out_ < order_.size() && handed_out_ - given_back_ < window_ / 2 &&
         resident(order_[handed_out_])) {
    ready_.push_back(order_[handed_out_++]);
  }
}

// The load of an expert that was read ahead, and that nobody awaits, did not end well. One that was read in vain keeps
// its slot as the others do. False when it was none of these.
bool ExpertStore::ahead_failed(ExpertKey key) {
  if (std::find(in_vain_.begin(), in_vain_.end(), key) != in_vain_.end()) return true;
  if (std::erase(ahead_, key) == 0) return false;
  ++stats_.ahead_wasted;
  pool_of(key).unpin(slot_of(key));
  drop_slot(key);
  return true;
}

// The layer has all its experts: what was read for it in vain goes.
void ExpertStore::end_prompt() {
  const auto is_loading = [this](const ExpertKey& key) { return !resident(key); };
  while (std::any_of(in_vain_.begin(), in_vain_.end(), is_loading)) collect(true);
  drop_in_vain();
}

// Those still loading stay when they arrive.
void ExpertStore::drop_in_vain() {
  for (const ExpertKey& key : in_vain_) {
    pool_of(key).unpin(slot_of(key));
    if (resident(key)) drop_slot(key);
  }
  in_vain_.clear();
}

void ExpertStore::drop_slot(ExpertKey key) {
  pool_of(key).clear(slot_of(key));
  places_[numbers_.at(key)].slot = -1;
}

void ExpertStore::unpin(std::vector<ExpertKey>& keys) {
  for (const ExpertKey& key : keys) pool_of(key).unpin(slot_of(key));
  keys.clear();
}

void ExpertStore::forget_ahead() {
  stats_.ahead_wasted += ahead_.size();
  for (const ExpertKey& key : ahead_) {
    if (!resident(key)) transfer_->cancel(numbers_.at(key));
  }
  drop_in_vain();
  unpin(ahead_);
  unpin(kept_);
  wanted_.clear();
  wanted_next_ = 0;
}

}  // namespace foregate
