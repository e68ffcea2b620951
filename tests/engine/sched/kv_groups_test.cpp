// Layers that share blocks and layers that do not: what a block of each group takes, what every kind of layer takes,
// what a plan asks of the window group, and window blocks beside the blocks that the prefix cache knows.
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <vector>

#include "engine/kv/kv_cache.h"
#include "engine/kv/kv_pools.h"
#include "engine/kv/prefix_cache.h"
#include "engine/kv/swap_space.h"
#include "engine/sched/scheduler.h"
#include "kernels/api/device.h"

namespace foregate {
namespace {

class HostMemory : public Device {
 public:
  std::string describe() const override { return "host"; }
  Memory allocate(std::size_t bytes) override {
    return Memory(std::calloc(bytes, 1), bytes, [](void* data, std::size_t) { std::free(data); });
  }
  std::unique_ptr<Stream> create_stream() override { return nullptr; }
};

KvLayout mixed_layout() {
  KvLayout layout;
  layout.layers = {{KvKind::kFull, 2, 8}, {KvKind::kSlidingWindow, 1, 4, 24}, {KvKind::kSlidingWindow, 1, 4, 32}};
  layout.type = DType::kF32;
  layout.block_size = 4;
  return layout;
}

TEST(KvGroups, LayersWithAWindowHaveBlocksOfTheirOwn) {
  KvLayout layout = mixed_layout();
  EXPECT_EQ(layout.block_bytes(KvGroup::kMain), 2 * 4 * (16 + 4 + 4) * 4);
  EXPECT_EQ(layout.block_bytes(KvGroup::kWindow), 0);
  EXPECT_EQ(layout.window(KvGroup::kMain), 0);
  layout.grouped = true;
  EXPECT_EQ(layout.block_bytes(KvGroup::kMain), 2 * 4 * 16 * 4);
  EXPECT_EQ(layout.block_bytes(KvGroup::kWindow), 2 * 4 * 8 * 4);
  EXPECT_EQ(layout.block_bytes(), 2 * 4 * (16 + 4 + 4) * 4);
  EXPECT_EQ(layout.window(KvGroup::kMain), 0);
  EXPECT_EQ(layout.window(KvGroup::kWindow), 32) << "the widest";
  layout.layers.erase(layout.layers.begin());
  EXPECT_EQ(layout.block_bytes(KvGroup::kMain), 0) << "all layers have a window";
}

// Numbers of published configurations: DeepSeek-V3 (61 layers, 512 + 64 latent), V3.2's indexer (128 a position),
// Qwen3-Next (32 value heads of 128 x 128 in float, and 3 columns of 8192 for its convolution).
TEST(KvGroups, EveryKindOfLayerHasItsSize) {
  const LayerKv latent{.kind = KvKind::kLatent, .head_dim = 512, .rope_dim = 64};
  EXPECT_EQ(latent.position_bytes(DType::kF16), 1152);
  EXPECT_EQ(latent.position_bytes(DType::kI8), 512 + 64 + 2 * 4);
  KvLayout deepseek;
  deepseek.type = DType::kF16;
  deepseek.layers.assign(61, latent);
  EXPECT_EQ(deepseek.block_bytes(), 16 * 70'272) << "the 70 KB a token that its authors state";
  EXPECT_EQ(deepseek.sequence_bytes(), 0);
  const LayerKv indexer{.kind = KvKind::kIndexer, .kv_heads = 1, .head_dim = 128};
  EXPECT_EQ(indexer.position_bytes(DType::kF16), 256) << "keys alone";
  EXPECT_EQ(indexer.position_bytes(DType::kI8), 132);
  const LayerKv recurrent{.kind = KvKind::kRecurrent, .state_bytes = 4 * (32 * 128 * 128 + 3 * 8192), .snapshots = 2};
  EXPECT_EQ(recurrent.position_bytes(DType::kF16), 0);
  EXPECT_EQ(recurrent.sequence_bytes(), 3 * 2'195'456);
  KvLayout hybrid;
  hybrid.type = DType::kF16;
  hybrid.layers = {recurrent, recurrent, recurrent, {KvKind::kFull, 2, 256}};
  EXPECT_EQ(hybrid.block_bytes(), 16 * 2 * 2 * 256 * 2);
  EXPECT_EQ(hybrid.sequence_bytes(), 9 * 2'195'456);
  EXPECT_FALSE(hybrid.has_window());
}

TEST(KvGroups, KindsThatNothingReadsAreRefused) {
  HostMemory device;
  for (const KvKind kind : {KvKind::kLatent, KvKind::kIndexer, KvKind::kRecurrent}) {
    KvLayout layout = mixed_layout();
    layout.layers.push_back({.kind = kind, .kv_heads = 1, .head_dim = 8});
    EXPECT_EQ(KvCache::create(device, layout, 4).status().code(), Code::kUnimplemented);
  }
}

TEST(KvGroups, BlocksOfAWindowAreFewAndBounded) {
  EXPECT_EQ(first_in_window(0, 8, 4), 0);
  EXPECT_EQ(first_in_window(10, 8, 4), 0);  // position 3 is in block 0
  EXPECT_EQ(first_in_window(11, 8, 4), 1);
  for (std::int32_t window : {2, 7, 8, 9}) {
    for (std::int32_t size : {1, 3, 4, 16}) {
      for (std::int32_t rows : {1, 2, 5, 16, 40}) {
        for (std::int32_t first = 0; first < 60; ++first) {
          const std::int32_t held = blocks_for(first + rows, size) - first_in_window(first, window, size);
          ASSERT_LE(held, most_in_window(window, rows, size)) << window << " " << size << " " << rows << " " << first;
        }
        const std::int32_t most = most_in_window(window, rows, size);
        ASSERT_GE(rows_in_window(window, most, size, 1000), rows);
        ASSERT_LE(most_in_window(window, rows_in_window(window, most, size, 1000), size), most);
      }
    }
  }
  EXPECT_EQ(rows_in_window(8, 3, 4, 16), 0) << "not even one";
}

SeqView view_of(std::uint64_t id, std::int32_t tokens, std::int32_t computed, std::int32_t most) {
  SeqView view;
  view.id = SeqId{id};
  view.tokens = tokens;
  view.computed = computed;
  view.max_blocks = blocks_for(most, 4);
  return view;
}

PlanInput input_of(std::int32_t free, std::int32_t free_window) {
  PlanInput input;
  input.block_size = 4;
  input.free_blocks = free;
  input.free_window_blocks = free_window;
  input.window = {8, 16};
  return input;
}

TEST(KvGroups, APromptTakesWindowBlocksForItsChunkOnly) {
  const std::vector<SeqView> waiting = {view_of(1, 40, 0, 60)};
  PlanInput input = input_of(20, 4);
  const std::vector<std::int32_t> refs(30, 0), window_refs(4, 0);
  input.refs = refs;
  input.window_refs = window_refs;
  input.waiting = waiting;
  const SchedLimits limits{.max_num_seqs = 4, .max_num_batched_tokens = 64};
  const BatchPlan plan = plan_step(input, limits);
  ASSERT_EQ(plan.entries.size(), 1u);
  EXPECT_EQ(plan.entries[0].rows, 16) << "as many as the window group has room for";
  EXPECT_EQ(plan.entries[0].new_blocks, 10);
  EXPECT_EQ(plan.entries[0].new_window_blocks, 4);
  input.free_window_blocks = 3;
  EXPECT_TRUE(plan_step(input, limits).empty());
}

TEST(KvGroups, APromptUnderWayGetsFewerRowsBeforeItPushesAnybodyOut) {
  const std::vector<BlockId> old_table = {BlockId{0}, BlockId{1}}, young_table = {BlockId{2}};
  SeqView old = view_of(1, 40, 8, 60);
  old.blocks = 10;
  old.window_blocks = 2;
  old.window_table = old_table;
  SeqView young = view_of(2, 4, 3, 20);
  young.blocks = young.window_blocks = 1;
  young.window_table = young_table;
  const std::vector<SeqView> running = {old, young};
  const std::vector<std::int32_t> refs(30, 1), window_refs(4, 1);
  PlanInput input = input_of(10, 1);
  input.refs = refs;
  input.window_refs = window_refs;
  input.running = running;
  const SchedLimits limits{.max_num_seqs = 4, .max_num_batched_tokens = 64};
  BatchPlan plan = plan_step(input, limits);
  ASSERT_EQ(plan.entries.size(), 2u);
  EXPECT_EQ(plan.entries[0].seq, SeqId{2});
  EXPECT_EQ(plan.entries[1].rows, 4) << "one free block";
  EXPECT_TRUE(plan.preempted.empty());
  input.free_window_blocks = 0;  // the young one decodes within its block, and has its row first
  plan = plan_step(input, limits);
  ASSERT_EQ(plan.entries.size(), 1u);
  EXPECT_EQ(plan.entries[0].seq, SeqId{2});
  EXPECT_TRUE(plan.preempted.empty()) << "the older one keeps its blocks and waits";
}

TEST(KvGroups, AWindowBlockGoesAloneOrWithTheBlockItIsBeside) {
  BlockPool pool(4, 2), window_pool(2, 2);
  PrefixCache cache(pool, BlockNamer({1, 2}, "m"), false, &window_pool);
  const std::vector<Token> tokens = {1, 2, 3, 4, 5, 6};
  std::vector<BlockKey> keys;
  cache.extend_keys("", tokens, keys);
  BlockTable table, window_table;
  KvTxn txn(pool), window_txn(window_pool);
  ASSERT_TRUE(txn.reserve(table, 3));
  window_txn.share(window_table, {}, std::nullopt, 0, 1);  // the first place without a block
  ASSERT_TRUE(window_txn.reserve(window_table, 2));
  txn.commit();
  window_txn.commit();
  EXPECT_EQ(window_table.given_up(), 1);
  EXPECT_EQ(window_table.size(), 3);
  for (std::int32_t i = 0; i < 3; ++i) {
    const auto at = static_cast<std::size_t>(i);
    ASSERT_TRUE(cache.publish("", tokens, keys, i, i > 0 ? table.blocks()[at - 1] : BlockId{-1}, table.blocks()[at]));
    if (i > 0) cache.put_beside(table.blocks()[at], window_table.blocks()[at]);
  }
  const BlockId second = table.blocks()[1], third = table.blocks()[2];
  EXPECT_EQ(cache.beside(table.blocks()[0]), kGivenUp);
  EXPECT_EQ(cache.beside(second), window_table.blocks()[1]);
  EXPECT_TRUE(cache.audit().ok()) << cache.audit().to_string();
  KvTxn::release_all(window_pool, window_table);
  KvTxn::release_all(pool, table);
  EXPECT_EQ(window_pool.kept_blocks(), 2);
  ASSERT_TRUE(window_pool.acquire().has_value());  // takes the one released first: the last
  EXPECT_EQ(cache.beside(third), kGivenUp);
  EXPECT_NE(cache.beside(second), kGivenUp);
  EXPECT_EQ(cache.size(), 3u) << "the blocks themselves stay known";
  EXPECT_TRUE(cache.audit().ok()) << cache.audit().to_string();
  while (pool.acquire().has_value()) continue;  // all are given up, and what is beside them
  EXPECT_EQ(window_pool.kept_blocks(), 0);
  EXPECT_EQ(window_pool.free_blocks(), 1);
  EXPECT_TRUE(cache.audit().ok()) << cache.audit().to_string();
}

TEST(KvGroups, CopiesAndSwapsGoByGroup) {
  HostMemory device;
  KvLayout layout = mixed_layout();
  layout.grouped = true;
  auto cache = KvCache::create(device, layout, 5, 3);
  ASSERT_TRUE(cache.ok());
  EXPECT_EQ(cache->pages(LayerId{0}).num_blocks, 5);
  EXPECT_EQ(cache->pages(LayerId{1}).num_blocks, 3);
  const auto bytes = [&](BlockId block, KvGroup group) {
    std::vector<std::byte> out(static_cast<std::size_t>(layout.block_bytes(group)));
    cache->save_block(block, out.data(), group);
    return out;
  };
  for (const KvGroup group : {KvGroup::kMain, KvGroup::kWindow}) {
    for (std::int32_t b = 0; b < cache->num_blocks(group); ++b) {
      std::vector<std::byte> fill(static_cast<std::size_t>(layout.block_bytes(group)));
      for (std::size_t i = 0; i < fill.size(); ++i) {
        fill[i] = static_cast<std::byte>(i * 7 + static_cast<std::size_t>(b) * 13 + (group == KvGroup::kMain ? 1 : 2));
      }
      cache->load_block(BlockId{b}, fill.data(), group);
    }
  }
  const auto main_2 = bytes(BlockId{2}, KvGroup::kMain), window_2 = bytes(BlockId{2}, KvGroup::kWindow);
  cache->copy_block(BlockId{2}, BlockId{0}, KvGroup::kWindow);
  EXPECT_EQ(bytes(BlockId{0}, KvGroup::kWindow), window_2);
  EXPECT_NE(bytes(BlockId{0}, KvGroup::kMain), main_2) << "the other group is not touched";
  SwapSpace space(device, 1 << 20);
  const std::vector<BlockId> blocks = {BlockId{2}, BlockId{4}}, window_blocks = {BlockId{2}};
  ASSERT_TRUE(space.save(SeqId{1}, *cache, blocks, window_blocks));
  EXPECT_EQ(space.used_bytes(), 2 * layout.block_bytes(KvGroup::kMain) + layout.block_bytes(KvGroup::kWindow));
  const auto main_4 = bytes(BlockId{4}, KvGroup::kMain);
  for (const std::int32_t b : {2, 4}) cache->zero_block(BlockId{b});
  cache->zero_block(BlockId{2}, KvGroup::kWindow);
  const std::vector<BlockId> to = {BlockId{3}}, window_to = {BlockId{1}};
  space.load(SeqId{1}, *cache, 1, to, window_to);
  EXPECT_EQ(bytes(BlockId{3}, KvGroup::kMain), main_4);
  EXPECT_EQ(bytes(BlockId{1}, KvGroup::kWindow), window_2);
  SwapSpace little(device, 2 * layout.block_bytes(KvGroup::kMain));
  EXPECT_FALSE(little.fits(*cache, 2, 1));
  EXPECT_TRUE(little.fits(*cache, 2));
}

}  // namespace
}  // namespace foregate
