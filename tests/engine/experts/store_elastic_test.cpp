// Slots of a store that come and go between steps: pinned experts and hints stay, bytes are right whatever is there,
// and the memory of what went is given back.
#include <gtest/gtest.h>

#include <map>

#include "tests/engine/experts/store_driver.h"

namespace foregate {
namespace {

using namespace made;

// Counts what is out; what is given back is spoilt.
class CountedPages final : public PageSource {
 public:
  std::size_t page_bytes() const override { return kDirectPage; }
  Memory reserve(std::size_t pieces, std::size_t piece_bytes) override {
    const std::size_t bytes = pieces * piece_bytes;
    if (bytes > limit) return {};
    return {std::aligned_alloc(kDirectPage, bytes), bytes, [](void* data, std::size_t) { std::free(data); }};
  }
  void give_back(std::byte* data, std::size_t bytes) override {
    std::memset(data, 0xff, bytes);
    given_back += bytes;
  }
  std::size_t limit = SIZE_MAX;
  std::size_t given_back = 0;
};

StoreOptions options(CountedPages& pages, std::uint64_t start, std::uint64_t least, std::uint64_t most) {
  StoreOptions options;
  options.budget_bytes = start * kDirectPage;
  options.policy = "lru";
  options.elastic = {&pages, least * kDirectPage, most * kDirectPage};
  return options;
}

TEST(StoreElastic, GivesUpTheColdestAndTakesThemAgain) {
  Disk disk({});
  CountedPages pages;
  StoreDriver driver(disk, options(pages, 16, 6, 32));
  ExpertStore& store = *driver.store;
  for (std::int32_t layer = 0; layer < 4; ++layer) ASSERT_TRUE(driver.run(layer, {0, 1, 2, 3}).ok());
  EXPECT_EQ(store.stats().slots, 16u);
  const auto page = static_cast<std::int64_t>(kDirectPage);
  EXPECT_EQ(store.give_up(5 * page - 1), 5 * page);
  EXPECT_EQ(pages.given_back, 5 * kDirectPage);
  EXPECT_EQ(store.stats().slots, 11u);
  EXPECT_EQ(store.stats().evictions, 5u);
  for (std::int32_t e = 0; e < 4; ++e) EXPECT_FALSE(store.resident(key(0, e)));  // used longest ago
  for (std::int32_t e = 0; e < 4; ++e) EXPECT_TRUE(store.resident(key(3, e)));
  EXPECT_EQ(store.give_up(1000 * page), 5 * page);  // the least stay
  EXPECT_EQ(store.stats().slots, 6u);
  EXPECT_EQ(store.give_up(1), 0);
  for (std::int32_t layer = 0; layer < 4; ++layer) ASSERT_TRUE(driver.run(layer, first_experts(8)).ok());  // in waves
  EXPECT_EQ(store.take(3 * page + 7), 3 * page);
  EXPECT_EQ(store.stats().slots, 9u);
  EXPECT_EQ(store.take(1000 * page), 23 * page);  // all experts
  EXPECT_TRUE(store.holds_all());
  EXPECT_EQ(store.take(page), 0);
  for (int turn = 0; turn < 2; ++turn) {
    for (std::int32_t layer = 0; layer < 4; ++layer) ASSERT_TRUE(driver.run(layer, first_experts(8)).ok());
  }
  const std::uint64_t misses = store.stats().misses;
  for (std::int32_t layer = 0; layer < 4; ++layer) ASSERT_TRUE(driver.run(layer, first_experts(8)).ok());
  EXPECT_EQ(store.stats().misses, misses);
  const ElasticSlotFigures figures = store.elastic_figures();
  EXPECT_EQ(figures.bytes, 32 * page);
  EXPECT_EQ(figures.least_bytes, 6 * page);
  EXPECT_EQ(figures.most_bytes, 32 * page);
  EXPECT_EQ(figures.slot_bytes, page);
  EXPECT_EQ(figures.misses, misses);
}

TEST(StoreElastic, WhatIsPinnedOrOnItsWayStays) {
  Disk disk({});
  CountedPages pages;
  StoreDriver driver(disk, options(pages, 16, 3, 16));
  ExpertStore& store = *driver.store;
  for (std::int32_t layer = 0; layer < 4; ++layer) ASSERT_TRUE(driver.run(layer, {0, 1, 2, 3}).ok());
  Lease lease = store.hold(key(0, 0));
  ASSERT_TRUE(lease);
  const std::vector<ExpertKey> hints = {key(1, 6), key(2, 6)};
  store.prefetch(hints);
  const auto page = static_cast<std::int64_t>(kDirectPage);
  EXPECT_EQ(store.give_up(13 * page), 13 * page);
  EXPECT_TRUE(store.resident(key(0, 0)));
  EXPECT_TRUE(disk.right(key(0, 0), lease.bytes()));
  for (const ExpertKey& hint : hints) EXPECT_TRUE(store.held(hint));
  EXPECT_EQ(store.give_up(page), 0);  // the least
  EXPECT_EQ(store.stats().hints_wasted, 0u);
  lease.release();
  ASSERT_TRUE(driver.run(1, {6, 7}).ok());
  ASSERT_TRUE(driver.run(2, {6}).ok());
}

// Sizes keep their shares, and a random walk of layers and moves gives right bytes throughout.
TEST(StoreElastic, RandomMovesBetweenLayersOfTwoSizes) {
  Disk disk({.count = 8, .pages = {1, 3, 1, 3}, .top_k = 2});
  CountedPages pages;
  StoreDriver driver(disk, options(pages, 32, 12, 64));
  ExpertStore& store = *driver.store;
  std::uint32_t state = 5;
  const auto draw = [&state](std::uint32_t below) {
    state = state * 1664525u + 1013904223u;
    return (state >> 8) % below;
  };
  std::int64_t given = 0, taken = 0;
  for (int i = 0; i < 400; ++i) {
    std::vector<std::int32_t> experts;
    for (std::int32_t e = 0; e < 8; ++e) {
      if (draw(3) == 0) experts.push_back(e);
    }
    const auto layer = static_cast<std::int32_t>(draw(4));
    ASSERT_TRUE(experts.empty() || driver.run(layer, experts).ok());
    const std::int64_t before = store.elastic_figures().bytes;
    const auto bytes = static_cast<std::int64_t>(draw(12) * kDirectPage);
    if (draw(2) == 0) {
      const std::int64_t gone = store.give_up(bytes);
      ASSERT_EQ(store.elastic_figures().bytes, before - gone);
      given += gone;
    } else {
      const std::int64_t more = store.take(bytes);
      ASSERT_LE(more, bytes);
      ASSERT_EQ(store.elastic_figures().bytes, before + more);
      taken += more;
    }
    ASSERT_GE(store.elastic_figures().bytes, store.elastic_figures().least_bytes);
    ASSERT_LE(store.elastic_figures().bytes, store.elastic_figures().most_bytes);
    ASSERT_EQ(store.stats().slot_bytes, static_cast<std::uint64_t>(store.elastic_figures().bytes));
  }
  EXPECT_GT(given, 100 * static_cast<std::int64_t>(kDirectPage));
  EXPECT_GT(taken, 100 * static_cast<std::int64_t>(kDirectPage));
  EXPECT_EQ(pages.given_back, static_cast<std::size_t>(given));
}

TEST(StoreElastic, AStoreOfOneNumberGivesNothing) {
  Disk disk({});
  StoreOptions plain;
  plain.budget_bytes = 16 * kDirectPage;
  StoreDriver driver(disk, plain);
  EXPECT_FALSE(driver.store->elastic());
  EXPECT_EQ(driver.store->give_up(1 << 20), 0);
  EXPECT_EQ(driver.store->take(1 << 20), 0);
  CountedPages pages;
  pages.limit = kDirectPage;
  HeapDevice device;
  const auto refused = ExpertStore::create(disk.table(), options(pages, 16, 3, 32), device, make_thread_queue(2));
  EXPECT_EQ(refused.status().code(), Code::kResourceExhausted);
}

}  // namespace
}  // namespace foregate
