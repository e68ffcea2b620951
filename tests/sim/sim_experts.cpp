#include "tests/sim/sim_experts.h"

#include <algorithm>
#include <mutex>

namespace foregate::sim {
namespace {

// Reads when it is given something to read, so that nothing depends on when a thread runs.
class InstantQueue final : public ReadQueue {
 public:
  std::string_view name() const override { return "instant"; }
  std::size_t depth() const override { return 2; }
  void submit(std::span<const ReadOp> ops) override {
    std::vector<ReadEnd> ends;
    for (const ReadOp& op : ops) ends.push_back({op.tag, op.file->read(op.offset, op.out)});
    const std::lock_guard lock(mutex_);
    ends_.insert(ends_.end(), ends.begin(), ends.end());
  }
  void wait(std::vector<ReadEnd>& ends, std::chrono::microseconds limit) override {
    static_cast<void>(limit);
    const std::lock_guard lock(mutex_);
    ends.insert(ends.end(), ends_.begin(), ends_.end());
    ends_.clear();
  }
  std::size_t in_flight() const override {
    const std::lock_guard lock(mutex_);
    return ends_.size();
  }

 private:
  mutable std::mutex mutex_;
  std::vector<ReadEnd> ends_;
};

}  // namespace

SimExperts::SimExperts(std::uint64_t seed, const ExpertScenario& scenario, Ledger& ledger)
    : dice_(seed, 13),
      fails_(scenario.fails),
      ledger_(ledger),
      disk_({.count = kExpertsOfLayer, .pages = {1, 1}, .top_k = 2}) {
  ExpertTable table = disk_.table();
  // The planted bug: where one expert is said to be, another is, with a checksum that fits.
  if (ledger.plant() == Plant::kWrongExpert) std::swap(table.extents[1], table.extents[2]);
  StoreOptions options;
  options.budget_bytes = static_cast<std::uint64_t>(scenario.slots) * kDirectPage;
  options.policy = "lru";
  auto made = ExpertStore::create(std::move(table), options, device_, std::make_unique<InstantQueue>());
  CHECK(made.ok());
  store_ = std::move(made).value();
}

Status SimExperts::run(const std::set<std::int32_t>& used) {
  const bool fails = dice_.chance(fails_);
  const Fault kind = dice_.chance(0.5) ? Fault::kIoError : Fault::kFlippedBit;
  disk_.faults.set(fails ? kind : Fault::kNone, 1);
  Status status;
  for (std::int32_t layer = 0; layer < kExpertLayers && status.ok(); ++layer) {
    std::vector<std::int32_t> experts;
    for (const std::int32_t number : used) {
      if (number / kExpertsOfLayer == layer) experts.push_back(number % kExpertsOfLayer);
    }
    if (!experts.empty()) status = run_layer(layer, experts, fails);
  }
  ++steps_;
  return status;
}

Status SimExperts::run_layer(std::int32_t layer, const std::vector<std::int32_t>& experts, bool disk_fails) {
  const auto key = [layer](std::int32_t expert) { return ExpertKey{LayerId{layer}, ExpertId{expert}}; };
  std::size_t there = 0;
  for (const std::int32_t expert : experts) there += store_->resident(key(expert)) ? 1 : 0;
  const StoreStats before = store_->stats();
  const std::vector<std::int32_t> rows(experts.size(), 1);
  store_->begin({.step = steps_, .layer = LayerId{layer}, .experts = experts, .rows = rows});
  std::vector<std::int32_t> came;
  Status status;
  for (;;) {
    auto leases = store_->next();
    if (!leases.ok()) {
      status = leases.status();
      break;
    }
    if (leases->empty()) break;
    for (const Lease& lease : *leases) {
      came.push_back(lease.expert().value);
      if (!disk_.right(lease.key(), lease.bytes())) ledger_.broke("a lease shows what its expert is not");
    }
  }
  const StoreStats after = store_->stats();
  const std::uint64_t hits = after.hits - before.hits;
  // Loads that a failed layer gave up may still end, at a moment that is their thread's.
  const bool as_many = late_ ? hits >= there : hits == there;
  if (!as_many || hits + (after.misses - before.misses) != experts.size()) {
    ledger_.broke("experts in memory are counted wrongly");
  }
  if (after.slots_used > after.slots) ledger_.broke("more experts in memory than there are slots");
  std::ranges::sort(came);
  if (status.ok() != !(disk_fails && hits < experts.size())) ledger_.broke("a layer ends as its disk did not");
  late_ = late_ || !status.ok();
  if (status.ok() && came != experts) ledger_.broke("a layer is given other experts than it asked for");
  return status;
}

}  // namespace foregate::sim
