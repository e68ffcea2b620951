// Runs layers through a store as the engine does, and holds every lease to the bytes that its expert must show.
#pragma once

#include <algorithm>
#include <memory>
#include <numeric>
#include <vector>

#include "engine/experts/expert_store.h"
#include "tests/engine/experts/made_experts.h"
#include "tests/engine/experts/made_uses.h"

namespace foregate::made {

class StoreDriver {
 public:
  StoreDriver(Disk& disk, const StoreOptions& options, std::unique_ptr<ReadQueue> queue = make_thread_queue(2))
      : disk_(disk) {
    auto made = ExpertStore::create(disk.table(), options, device_, std::move(queue));
    EXPECT_TRUE(made.ok()) << made.status().to_string();
    if (made.ok()) store = std::move(made).value();
  }

  void begin(std::int32_t layer, const std::vector<std::int32_t>& experts, UsePhase phase = UsePhase::kDecode) {
    use_ = {.step = steps_++, .layer = layer, .phase = phase, .experts = experts, .rows = {}};
    use_.rows.assign(experts.size(), 1);
    store->begin(use_.use());
  }
  // Begins a layer and runs it; the first error, or OK and then all its experts came, once each.
  Status run(std::int32_t layer, const std::vector<std::int32_t>& experts) {
    begin(layer, experts);
    return finish();
  }
  Status run(const MadeUse& use) {
    use_ = use;
    store->begin(use_.use());
    return finish();
  }
  Status finish() {
    std::vector<std::int32_t> came;
    while (true) {
      auto leases = store->next();
      if (!leases.ok()) return leases.status();
      if (leases->empty()) break;
      for (const Lease& lease : *leases) {
        came.push_back(lease.expert().value);
        EXPECT_TRUE(disk_.right(key(use_.layer, lease.expert().value), lease.weights().gate.data));
      }
      largest_wave = std::max(largest_wave, leases->size());
    }
    std::sort(came.begin(), came.end());
    EXPECT_EQ(came, use_.experts);
    return {};
  }
  std::uint64_t expert_bytes() const { return disk_.table().extents[0].bytes; }

  std::unique_ptr<ExpertStore> store;
  std::size_t largest_wave = 0;

 private:
  Disk& disk_;
  HeapDevice device_;
  MadeUse use_;
  std::int64_t steps_ = 0;
};

inline std::vector<std::int32_t> first_experts(std::int32_t count) {
  std::vector<std::int32_t> experts(static_cast<std::size_t>(count));
  std::iota(experts.begin(), experts.end(), 0);
  return experts;
}

}  // namespace foregate::made
