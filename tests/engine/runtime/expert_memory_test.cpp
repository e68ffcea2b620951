// The words of --expert-memory, and an engine that boots with experts on disk.
#include "engine/runtime/expert_memory.h"

#include <gtest/gtest.h>

#include <string>

#include "engine/runtime/memory_budget.h"

namespace foregate {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr ExpertMemoryFacts kFacts = {
    .expert_bytes = 4000 * kMiB, .other_bytes = 300 * kMiB, .kv_bytes = 100 * kMiB, .available_bytes = 2000 * kMiB};

TEST(ExpertMemory, WordsAndSizes) {
  const auto bytes = [](std::string_view word) { return choose_expert_memory(word, kFacts); };
  EXPECT_FALSE((*bytes("all")).has_value());
  EXPECT_EQ(**bytes("25%"), 1000 * kMiB);
  EXPECT_EQ(**bytes("12.5%"), 500 * kMiB);
  EXPECT_EQ(**bytes("100%"), 4000 * kMiB);
  EXPECT_EQ(**bytes("2GiB"), 2048 * kMiB);
  EXPECT_EQ(**bytes("512M"), 512 * kMiB);
  EXPECT_EQ(**bytes("1.5GB"), 1'500'000'000u);
  EXPECT_EQ(**bytes("4096"), 4096u);
  for (const char* bad : {"", "half", "-1", "0", "0%", "101%", "5 GiB", "5Gi", "nan", "inf", "1e30GiB", "%", "4GiBx"}) {
    const auto result = bytes(bad);
    ASSERT_FALSE(result.ok()) << bad;
    EXPECT_EQ(result.status().field(), "expert_memory") << bad;
  }
}

TEST(ExpertMemory, AutoTakesWhatIsLeft) {
  ExpertMemoryFacts facts = kFacts;
  EXPECT_EQ(**choose_expert_memory("auto", facts), 2000 * kMiB - 400 * kMiB - kExpertMemoryReserve);
  facts.available_bytes = 4400 * kMiB + kExpertMemoryReserve;
  EXPECT_FALSE((*choose_expert_memory("auto", facts)).has_value()) << "all fit";
  --facts.available_bytes;
  EXPECT_EQ(**choose_expert_memory("auto", facts), 4000 * kMiB - 1);
  facts.available_bytes = 400 * kMiB + kExpertMemoryReserve;
  EXPECT_EQ(choose_expert_memory("auto", facts).status().code(), Code::kResourceExhausted);
  facts.available_bytes = 0;  // not known
  EXPECT_FALSE((*choose_expert_memory("auto", facts)).has_value());
  facts = kFacts;
  facts.scratch_bytes = 50 * kMiB;
  EXPECT_EQ(**choose_expert_memory("auto", facts), 2000 * kMiB - 450 * kMiB - kExpertMemoryReserve);
}

// 1500 MiB beside the other weights and the reserve, experts of 4000 MiB.
TEST(ExpertMemory, AutoKeepsCacheForSequencesBesideEachOther) {
  ExpertMemoryFacts facts = kFacts;
  facts.kv_bytes = 0;
  facts.available_bytes = facts.other_bytes + kExpertMemoryReserve + 1500 * kMiB;
  const auto sequences = [&](std::uint64_t sequence, std::int32_t most, std::uint64_t cycle = 0) {
    return cache_sequences(facts, {.sequence_bytes = sequence, .max_num_seqs = most, .cycle_bytes = cycle});
  };
  EXPECT_EQ(sequences(10 * kMiB, 32), 32) << "less than a quarter";
  EXPECT_EQ(sequences(50 * kMiB, 32), 7) << "a quarter";
  EXPECT_EQ(sequences(50 * kMiB, 4), 4);
  EXPECT_EQ(sequences(500 * kMiB, 32), 1) << "one at least";
  EXPECT_EQ(sequences(50 * kMiB, 32, 800 * kMiB), 6) << "1.5 cycles of experts come first";
  EXPECT_EQ(sequences(50 * kMiB, 32, 2000 * kMiB), 1);
  facts.available_bytes += 4000 * kMiB;  // all experts fit, and 1500 MiB beside them
  EXPECT_EQ(sequences(50 * kMiB, 32), 30);
  facts.available_bytes += 4000 * kMiB;
  EXPECT_EQ(sequences(50 * kMiB, 32), 32);
  facts.available_bytes = kMiB;
  EXPECT_EQ(sequences(50 * kMiB, 32), 1);
  facts.available_bytes = 0;
  EXPECT_EQ(sequences(50 * kMiB, 32), 32) << "not known: what the cache would take by itself";
}

TEST(DenseMemoryWord, SharesAndSizes) {
  EXPECT_FALSE((*choose_dense_memory("all", 1000)).has_value());
  EXPECT_EQ(**choose_dense_memory("40%", 1000), 400u);
  EXPECT_EQ(**choose_dense_memory("1MiB", 1000), kMiB);
  for (const char* bad : {"auto", "", "0", "101%", "half"}) {
    EXPECT_EQ(choose_dense_memory(bad, 1000).status().field(), "dense_memory") << bad;
  }
}

// A cache of one sequence is larger than half of what auto leaves beside it: the half is for those who share nothing.
TEST(ExpertMemory, AutoLeavesTheCacheItCounted) {
  constexpr std::uint64_t kBlock = kMiB;
  for (const std::uint64_t cache : {kMiB, 100 * kMiB, 900 * kMiB}) {
    for (const std::uint64_t available : {1700 * kMiB, 3000 * kMiB, 9000 * kMiB}) {
      ExpertMemoryFacts facts = kFacts;
      facts.kv_bytes = cache;
      facts.available_bytes = available;
      const auto experts = choose_expert_memory("auto", facts);
      ASSERT_TRUE(experts.ok()) << experts.status().to_string();
      KvBudget budget;
      budget.available_bytes =
          static_cast<std::int64_t>(available - facts.other_bytes - experts->value_or(facts.expert_bytes));
      budget.kept_bytes = static_cast<std::int64_t>(cache);
      budget.block_bytes = kBlock;
      budget.block_size = 16;
      budget.max_num_seqs = 1;
      budget.max_model_len = static_cast<std::int32_t>(cache / kBlock * 16);
      auto blocks = choose_num_blocks(budget);
      ASSERT_TRUE(blocks.ok()) << blocks.status().to_string();
      EXPECT_EQ(static_cast<std::uint64_t>(*blocks), cache / kBlock);
    }
  }
}

}  // namespace
}  // namespace foregate
