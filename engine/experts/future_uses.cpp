#include "engine/experts/future_uses.h"

#include <algorithm>

namespace foregate {

void FutureUses::add(LayerId layer, std::span<const std::int32_t> experts) {
  for (const std::int32_t expert : experts) times_[{layer, ExpertId{expert}}].push_back(calls_);
  ++calls_;
}

std::int64_t FutureUses::next(ExpertKey key, std::int64_t time) const {
  const auto found = times_.find(key);
  if (found == times_.end()) return kNever;
  const auto at = std::upper_bound(found->second.begin(), found->second.end(), time);
  return at == found->second.end() ? kNever : *at;
}

}  // namespace foregate
