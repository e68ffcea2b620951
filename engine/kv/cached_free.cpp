#include "engine/kv/cached_free.h"

#include <limits>

#include "kernels/api/check.h"

namespace foregate {

void CachedFree::add(BlockId block, ClientId owner) {
  Node& added = node(block.value);
  CHECK(!added.inside);
  Lane& lane = lanes_[owner];
  added = {lane.tail, -1, ++stamp_, owner, true};
  if (lane.tail >= 0) node(lane.tail).after = block.value;
  lane.tail = block.value;
  if (lane.head < 0) lane.head = block.value;
  ++lane.count;
  ++size_;
}

void CachedFree::remove(BlockId block) {
  Node& gone = node(block.value);
  CHECK(gone.inside);
  const auto it = lanes_.find(gone.owner);
  Lane& lane = it->second;
  (gone.before >= 0 ? node(gone.before).after : lane.head) = gone.after;
  (gone.after >= 0 ? node(gone.after).before : lane.tail) = gone.before;
  gone.inside = false;
  --size_;
  if (--lane.count == 0) lanes_.erase(it);
}

std::int32_t CachedFree::floor() const {
  const auto owners = static_cast<std::int32_t>(lanes_.size());
  return owners == 0 ? 0 : pool_ / 2 / owners;
}

std::int32_t CachedFree::size_of(ClientId owner) const {
  const auto it = lanes_.find(owner);
  return it == lanes_.end() ? 0 : it->second.count;
}

BlockId CachedFree::victim() const {
  CHECK(size_ > 0);
  const std::int32_t share = floor();
  std::int32_t oldest = -1;
  bool oldest_above = false;
  std::uint64_t stamp = std::numeric_limits<std::uint64_t>::max();
  for (const auto& [owner, lane] : lanes_) {
    const bool above = lane.count > share;
    const std::uint64_t age = node(BlockId{lane.head}).stamp;
    if (oldest >= 0 && (oldest_above != above ? oldest_above : age >= stamp)) continue;
    oldest = lane.head;
    oldest_above = above;
    stamp = age;
  }
  return BlockId{oldest};
}

}  // namespace foregate
