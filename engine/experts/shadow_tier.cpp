#include "engine/experts/shadow_tier.h"

#include <algorithm>

namespace foregate {

// All is judged alike once it was used, as the tier does when the layers that follow need slots: none of them is here
// to do it, and what the sampled layer just used must not stay for that.
std::size_t ShadowTier::use(const LayerUse& use, const ExpertNumbers& numbers, const EvictionPolicy& policy) {
  std::size_t missing = 0;
  for (const std::int32_t expert : use.experts) {
    const ExpertKey key{use.layer, ExpertId{expert}};
    if (resident_[numbers.at(key)]) continue;
    held_.push_back(key);
    resident_[numbers.at(key)] = true;
    ++missing;
  }
  hits_ += use.experts.size() - missing;
  if (held_.size() <= slots_) return missing;
  may_go_.clear();
  for (const ExpertKey key : held_) may_go_.push_back({policy.keep_value(key), key});
  const auto gone = may_go_.begin() + static_cast<std::ptrdiff_t>(held_.size() - slots_);
  std::nth_element(may_go_.begin(), gone, may_go_.end());
  held_.clear();
  for (auto it = may_go_.begin(); it != may_go_.end(); ++it) {
    if (it < gone) {
      resident_[numbers.at(it->second)] = false;
    } else {
      held_.push_back(it->second);
    }
  }
  return missing;
}

}  // namespace foregate
