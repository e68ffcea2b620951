// How the memory of a cache is divided between blocks of layers with a window and of those without.
#include "engine/runtime/kv_blocks.h"

#include <gtest/gtest.h>

#include "engine/kv/kv_window.h"

namespace foregate {
namespace {

// Blocks of 16 positions: 1600 bytes of the layers without a window, 4800 of those with one, of 128.
KvLayout layout_of(bool mixed) {
  KvLayout layout;
  layout.type = DType::kF16;
  const LayerKv full{KvKind::kFull, 1, 25};
  const LayerKv windowed{KvKind::kSlidingWindow, 1, 25, 128};
  if (mixed) layout.layers = {full};
  layout.layers.insert(layout.layers.end(), {windowed, windowed, windowed});
  layout.grouped = true;
  return layout;
}

KvBudget budget_of(std::int32_t max_num_seqs = 4) {
  KvBudget budget;
  budget.block_size = 16;
  budget.max_num_seqs = max_num_seqs;
  budget.max_model_len = 16'000;  // 1000 blocks
  return budget;
}

constexpr WindowBudget kWindow{.rows = 512, .max_num_seqs = 4, .prefix_caching = false};
constexpr std::int64_t kWanted = 4 * 10 + 32;  // four windows, and the rows of a step

TEST(KvBlocks, TheWindowGroupGetsWhatItCanUse) {
  const KvLayout layout = layout_of(true);
  const KvBlocks blocks = *choose_kv_blocks(budget_of(), layout, kWindow);
  EXPECT_EQ(blocks.main, 4000);
  EXPECT_EQ(blocks.window, kWanted);
  EXPECT_EQ(blocks.bytes(layout), 4000 * 1600 + kWanted * 4800);
  WindowBudget cached = kWindow;
  cached.prefix_caching = true;
  EXPECT_EQ(choose_kv_blocks(budget_of(), layout, cached)->window, 2 * kWanted);
}

TEST(KvBlocks, WhatTheWindowGroupLeavesGoesToTheOther) {
  const KvLayout layout = layout_of(true);
  KvBudget budget = budget_of();
  budget.kv_cache_bytes = 3'000'000;  // 468 blocks of all layers
  const KvBlocks blocks = *choose_kv_blocks(budget, layout, kWindow);
  EXPECT_EQ(blocks.window, kWanted);
  EXPECT_EQ(blocks.main, (3'000'000 - kWanted * 4800) / 1600);
  EXPECT_LE(blocks.bytes(layout), budget.kv_cache_bytes);
  EXPECT_GE(blocks.main, 1000) << "a whole sequence, though blocks of all layers hold less than half of one";
  budget.kv_cache_bytes = 1'900'000;  // hardly one
  EXPECT_EQ(choose_kv_blocks(budget, layout, kWindow)->main, 1000);
  EXPECT_EQ(choose_kv_blocks(budget, layout, kWindow)->window, 300'000 / 4800);
  budget.kv_cache_bytes = 1'700'000;
  const Status status = choose_kv_blocks(budget, layout, kWindow).status();
  EXPECT_EQ(status.code(), Code::kResourceExhausted);
  EXPECT_NE(status.message().find("kv_cache_bytes is 1700000"), std::string::npos) << status.message();
}

TEST(KvBlocks, NobodyIsWorseOffThanWithBlocksOfAllLayers) {
  const KvLayout layout = layout_of(true);
  for (std::int64_t bytes = 1'000'000; bytes < 80'000'000; bytes = bytes * 9 / 8) {
    KvBudget budget = budget_of();
    budget.kv_cache_bytes = bytes;
    budget.block_bytes = layout.block_bytes();
    auto together = choose_num_blocks(budget);
    auto apart = choose_kv_blocks(budget, layout, kWindow);
    if (!together.ok()) continue;
    ASSERT_TRUE(apart.ok()) << apart.status().to_string();
    EXPECT_GE(apart->main, *together);
    EXPECT_GE(apart->window, std::min(*together, kWanted));
    EXPECT_LE(apart->bytes(layout), bytes);
  }
}

TEST(KvBlocks, WhereAllLayersHaveAWindowItAloneCounts) {
  const KvLayout layout = layout_of(false);
  KvBudget budget = budget_of();
  KvBlocks blocks = *choose_kv_blocks(budget, layout, kWindow);
  EXPECT_EQ(blocks.window, kWanted);
  EXPECT_EQ(blocks.main, 4000) << "without memory";
  EXPECT_EQ(blocks.bytes(layout), kWanted * 4800);
  budget.kv_cache_bytes = 50 * 4800;  // a sequence of 16,000 positions would be 1000 blocks
  EXPECT_EQ(choose_kv_blocks(budget, layout, kWindow)->window, 50);
  budget.kv_cache_bytes = 40 * 4800;  // a window and 512 rows are 42
  EXPECT_EQ(choose_kv_blocks(budget, layout, kWindow).status().code(), Code::kResourceExhausted);
  budget.kv_cache_bytes = 0;
  budget.num_blocks = 7;
  blocks = *choose_kv_blocks(budget, layout, kWindow);
  EXPECT_EQ(blocks.window, 7);
  EXPECT_EQ(sequence_bytes(layout, 16'000, 512), most_in_window(128, 512, 16) * 4800);
}

TEST(KvBlocks, MoreThanThereIsIsRefused) {
  KvBudget budget = budget_of();
  budget.available_bytes = 2'000'000;
  budget.kv_cache_bytes = 3'000'000;
  EXPECT_EQ(choose_kv_blocks(budget, layout_of(true), kWindow).status().code(), Code::kResourceExhausted);
  budget.kv_cache_bytes = 0;
  budget.num_blocks = 100'000;
  EXPECT_EQ(choose_kv_blocks(budget, layout_of(true), kWindow).status().code(), Code::kResourceExhausted);
}

}  // namespace
}  // namespace foregate
