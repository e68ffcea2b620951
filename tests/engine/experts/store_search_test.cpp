// The store at its smallest, breadth first: two slots, four experts in two layers, every order of layers that use one
// or both of theirs, over a disk that works or fails. A state is what is in memory and in which order it was used; the
// search ends when no state is new. INV-14 to INV-16 hold in all: what a lease shows is its expert's own, no more is
// held than there are slots, what was counted as there was there, and after a failure all slots serve again.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <set>
#include <string>

#include "tests/engine/experts/store_driver.h"

namespace foregate {
namespace {

using made::key;
using made::StoreDriver;

constexpr std::int32_t kLayers = 2;
constexpr std::int32_t kExperts = 2;  // of a layer
constexpr std::uint64_t kSlots = 2;

struct Act {
  std::int32_t layer = 0;
  std::vector<std::int32_t> experts;
  bool disk_fails = false;
};

std::vector<Act> all_acts() {
  std::vector<Act> acts;
  for (std::int32_t layer = 0; layer < kLayers; ++layer) {
    for (const std::vector<std::int32_t>& experts : {std::vector<std::int32_t>{0}, {1}, {0, 1}}) {
      for (const bool fails : {false, true}) acts.push_back({layer, experts, fails});
    }
  }
  return acts;
}

class OneRun {
 public:
  void take(const Act& act) {
    const StoreStats before = driver_.store->stats();
    std::size_t there = 0;
    for (const std::int32_t expert : act.experts) there += driver_.store->resident(key(act.layer, expert)) ? 1 : 0;
    disk_.faults.set(act.disk_fails ? Fault::kIoError : Fault::kNone, 1);
    const Status status = driver_.run(act.layer, act.experts);
    const StoreStats after = driver_.store->stats();
    EXPECT_EQ(after.hits - before.hits, there);
    EXPECT_EQ(after.misses - before.misses, act.experts.size() - there);
    EXPECT_LE(after.slots_used, kSlots);
    const bool fails = act.disk_fails && there < act.experts.size();
    EXPECT_EQ(status.code(), fails ? Code::kUnavailable : Code::kOk) << status.to_string();
    for (const std::int32_t expert : act.experts) {
      const std::int32_t number = act.layer * kExperts + expert;
      std::erase(used_, number);
      used_.push_back(number);
      EXPECT_TRUE(fails || driver_.store->resident(key(act.layer, expert)));
    }
  }

  // Of those in memory, the one used longest ago first.
  std::string state() const {
    std::string text;
    for (const std::int32_t number : used_) {
      const ExpertKey of = key(number / kExperts, number % kExperts);
      if (driver_.store->resident(of)) text += std::to_string(number);
    }
    return text;
  }

 private:
  made::Disk disk_{{.count = kExperts, .pages = {1, 1}, .top_k = 1}};
  StoreDriver driver_{disk_, {.budget_bytes = kSlots * kDirectPage, .policy = "lru"}};
  std::vector<std::int32_t> used_;  // numbers, the latest last
};

TEST(StoreSearch, TwoSlotsOfFourExpertsClose) {
  const std::vector<Act> acts = all_acts();
  std::set<std::string> seen = {""};
  std::deque<std::vector<std::size_t>> open = {{}};
  std::size_t runs = 0;
  while (!open.empty() && !HasFailure()) {
    const std::vector<std::size_t> path = open.front();
    open.pop_front();
    for (std::size_t act = 0; act < acts.size(); ++act, ++runs) {
      OneRun run;
      for (const std::size_t before : path) run.take(acts[before]);
      run.take(acts[act]);
      if (!seen.insert(run.state()).second) continue;
      open.push_back(path);
      open.back().push_back(act);
    }
  }
  EXPECT_TRUE(open.empty());
  EXPECT_EQ(seen.size(), 1u + 4 + 4 * 3) << "nothing, one expert, two in either order";
  std::printf("%zu states, %zu runs\n", seen.size(), runs);
}

}  // namespace
}  // namespace foregate
