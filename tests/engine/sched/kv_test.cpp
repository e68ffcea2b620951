// Block pool and transactions: nothing is lost, nothing is owned twice, nothing changes before commit.
#include <gtest/gtest.h>

#include <set>

#include "engine/base/rng.h"
#include "engine/kv/block_pool.h"
#include "engine/kv/block_table.h"
#include "engine/kv/kv_cache.h"
#include "engine/kv/kv_txn.h"

namespace foregate {
namespace {

std::vector<std::int32_t> ids(const BlockTable& table) {
  std::vector<std::int32_t> out;
  for (BlockId block : table.blocks()) out.push_back(block.value);
  return out;
}

bool grow(BlockPool& pool, BlockTable& table, std::int32_t blocks) {
  KvTxn txn(pool);
  if (!txn.reserve(table, blocks)) return false;
  txn.commit();
  return true;
}

TEST(BlockPool, HandsOutEveryBlockOnceInAFixedOrder) {
  BlockPool pool(5, 16);
  std::vector<std::int32_t> order;
  while (const auto block = pool.acquire()) order.push_back(block->value);
  EXPECT_EQ(order, (std::vector<std::int32_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(pool.free_blocks(), 0);
  pool.release(BlockId{3});
  pool.release(BlockId{1});
  EXPECT_EQ(pool.acquire(), BlockId{1});
  EXPECT_EQ(pool.acquire(), BlockId{3});
}

TEST(BlockPool, ASharedBlockIsFreedByItsLastOwner) {
  BlockPool pool(2, 4);
  const BlockId block = *pool.acquire();
  pool.retain(block);
  EXPECT_EQ(pool.refs(block), 2);
  pool.release(block);
  EXPECT_EQ(pool.free_blocks(), 1);
  pool.release(block);
  EXPECT_EQ(pool.free_blocks(), 2);
}

TEST(BlockPool, AuditFindsALeakAndAStolenBlock) {
  BlockPool pool(4, 4);
  BlockTable table;
  ASSERT_TRUE(grow(pool, table, 2));
  const BlockTable* tables[] = {&table};
  EXPECT_TRUE(pool.audit(tables).ok());
  EXPECT_FALSE(pool.audit({}).ok());  // held, but nobody says so
  const BlockId leaked = *pool.acquire();
  EXPECT_FALSE(pool.audit(tables).ok());
  pool.release(leaked);
  pool.retain(table.blocks()[0]);
  EXPECT_NE(pool.audit(tables).message().find("2 references, 1 counted"), std::string::npos);
  pool.release(table.blocks()[0]);
  const BlockTable* twice[] = {&table, &table};
  EXPECT_FALSE(pool.audit(twice).ok());
}

TEST(BlockPoolDeathTest, FreeingAFreeBlockIsABug) {
  BlockPool pool(2, 4);
  EXPECT_DEATH(pool.release(BlockId{0}), "BUG");
  EXPECT_DEATH(pool.retain(BlockId{0}), "BUG");
  EXPECT_DEATH(pool.release(BlockId{7}), "CHECK");
}

TEST(KvTxn, TruncateGivesBackTheLastBlocks) {
  BlockPool pool(6, 4);
  BlockTable table;
  ASSERT_TRUE(grow(pool, table, 4));
  KvTxn::truncate(pool, table, 5);
  EXPECT_EQ(ids(table), (std::vector<std::int32_t>{0, 1, 2, 3}));
  KvTxn::truncate(pool, table, 2);
  EXPECT_EQ(ids(table), (std::vector<std::int32_t>{0, 1}));
  EXPECT_EQ(pool.free_blocks(), 4);
  const BlockTable* tables[] = {&table};
  EXPECT_TRUE(pool.audit(tables).ok());
  EXPECT_EQ(pool.acquire(), BlockId{2});  // what a table without a draft would get next
}

TEST(BlocksFor, RoundsUp) {
  EXPECT_EQ(blocks_for(0, 16), 0);
  EXPECT_EQ(blocks_for(1, 16), 1);
  EXPECT_EQ(blocks_for(16, 16), 1);
  EXPECT_EQ(blocks_for(17, 16), 2);
}

TEST(KvTxn, NothingChangesBeforeCommit) {
  BlockPool pool(6, 4);
  BlockTable a;
  BlockTable b;
  ASSERT_TRUE(grow(pool, a, 2));
  {
    KvTxn txn(pool);
    ASSERT_TRUE(txn.reserve(a, 1));
    ASSERT_TRUE(txn.reserve(b, 2));
    EXPECT_EQ(a.size(), 2);
    EXPECT_TRUE(b.empty());
    std::vector<std::int32_t> view;
    txn.append_view(a, view);
    EXPECT_EQ(view, (std::vector<std::int32_t>{0, 1, 2}));
    EXPECT_EQ(pool.free_blocks(), 1);
  }
  EXPECT_EQ(pool.free_blocks(), 4) << "a transaction that is not committed gives back what it took";
  EXPECT_EQ(a.size(), 2);
  KvTxn txn(pool);
  ASSERT_TRUE(txn.reserve(a, 1));
  ASSERT_TRUE(txn.reserve(b, 2));
  txn.commit();
  EXPECT_EQ(ids(a), (std::vector<std::int32_t>{0, 1, 2})) << "the same blocks as the dropped one";
  EXPECT_EQ(ids(b), (std::vector<std::int32_t>{3, 4}));
}

TEST(KvTxn, RefusesMoreThanThereIs) {
  BlockPool pool(3, 4);
  BlockTable a;
  KvTxn txn(pool);
  EXPECT_FALSE(txn.reserve(a, 4));
  EXPECT_FALSE(txn.reserve(a, -1));
  EXPECT_EQ(pool.free_blocks(), 3);
  EXPECT_TRUE(txn.reserve(a, 3));
  txn.commit();
  KvTxn::release_all(pool, a);
  EXPECT_TRUE(a.empty());
  EXPECT_EQ(pool.free_blocks(), 3);
}

TEST(KvTxn, ConservationOverRandomTransactions) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    BlockPool pool(23, 4);
    std::vector<BlockTable> tables(6);
    for (std::uint64_t step = 0; step < 200; ++step) {
      const auto draw = [&](std::uint64_t what) { return uniform01(seed, what, step); };
      KvTxn txn(pool);
      for (std::size_t t = 0; t < tables.size(); ++t) {
        if (draw(10 + t) < 0.3) (void)txn.reserve(tables[t], static_cast<std::int32_t>(draw(20 + t) * 5));
      }
      if (draw(1) < 0.7) txn.commit();
      txn.drop();
      const auto victim = static_cast<std::size_t>(draw(2) * 6);
      if (draw(3) < 0.5) KvTxn::release_all(pool, tables[victim]);
      std::vector<const BlockTable*> views;
      std::set<std::int32_t> seen;
      for (const BlockTable& table : tables) {
        views.push_back(&table);
        for (std::int32_t id : ids(table)) EXPECT_TRUE(seen.insert(id).second) << "two owners of block " << id;
      }
      ASSERT_TRUE(pool.audit(views).ok());
    }
  }
}

// Where every layer has a window: the first blocks go, the numbers of the others stay.
TEST(KvTxn, GivesUpTheFirstBlocks) {
  BlockPool pool(6, 4);
  BlockTable table;
  const BlockTable* tables[] = {&table};
  ASSERT_TRUE(grow(pool, table, 4));
  EXPECT_EQ(KvTxn::give_up_before(pool, table, 2, 0), 2);
  EXPECT_EQ(KvTxn::give_up_before(pool, table, 2, 0), 0);
  EXPECT_EQ(KvTxn::give_up_before(pool, table, -1, 0), 0);
  EXPECT_EQ(ids(table), (std::vector<std::int32_t>{-1, -1, 2, 3}));
  EXPECT_EQ(table.held().size(), 2u);
  EXPECT_EQ(pool.free_blocks(), 4);
  EXPECT_TRUE(pool.audit(tables).ok());
  KvTxn txn(pool);
  EXPECT_FALSE(txn.writable(table, 1));
  EXPECT_TRUE(txn.writable(table, 2));
  ASSERT_TRUE(txn.reserve(table, 1));
  std::vector<std::int32_t> view;
  txn.append_view(table, view);
  EXPECT_EQ(view, (std::vector<std::int32_t>{-1, -1, 2, 3, 0}));
  txn.commit();
  KvTxn::truncate(pool, table, 4);
  BlockTable moved(std::move(table));
  EXPECT_EQ(moved.given_up(), 2);
  EXPECT_EQ(table.given_up(), 0);
  EXPECT_EQ(moved.held().size(), 2u);
  KvTxn::release_all(pool, moved);
  EXPECT_EQ(pool.free_blocks(), 6);
  EXPECT_TRUE(pool.audit({}).ok());
}

TEST(KvLayout, ItsWindowIsTheWidestWhereAllHaveOne) {
  KvLayout layout;
  EXPECT_EQ(layout.window(), 0);
  layout.layers = {{KvKind::kSlidingWindow, 2, 8, 24}, {KvKind::kSlidingWindow, 1, 4, 32}};
  EXPECT_EQ(layout.window(), 32);
  layout.layers.push_back({KvKind::kFull, 1, 4, 0});
  EXPECT_EQ(layout.window(), 0);
}

TEST(KvLayout, BytesOfOneBlock) {
  KvLayout layout;
  layout.layers = {{KvKind::kFull, 2, 8, 0}, {KvKind::kSlidingWindow, 1, 4, 32}};
  layout.block_size = 16;
  layout.type = DType::kF32;
  EXPECT_EQ(layout.block_bytes(), 2 * 16 * (2 * 8 + 1 * 4) * 4);
  layout.type = DType::kBF16;
  EXPECT_EQ(layout.block_bytes(), 2 * 16 * (2 * 8 + 1 * 4) * 2);
  layout.type = DType::kI8;  // and a scale for each position and head
  EXPECT_EQ(layout.block_bytes(), 2 * 16 * (2 * (8 + 4) + 1 * (4 + 4)));
}

}  // namespace
}  // namespace foregate
