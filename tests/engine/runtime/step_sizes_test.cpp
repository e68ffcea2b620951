// What a step takes when the options leave it open: what was asked for stays, the rest follows from memory.
#include "engine/runtime/step_sizes.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/model/step_scratch.h"
#include "kernels/cpu/cpu_device.h"

namespace foregate {
namespace {

ModelConfig config() {
  ModelConfig config;
  config.hidden_size = 64;
  config.layers.resize(2);
  return config;
}

TEST(StepSizes, WhatWasAskedForStays) {
  BootOptions options;
  options.max_num_seqs = 3;
  options.max_num_batched_tokens = 7;
  const BootOptions sized = with_step_sizes(options, config(), std::int64_t{1} << 40);
  EXPECT_EQ(sized.max_num_seqs, 3);
  EXPECT_EQ(sized.max_num_batched_tokens, 7);
}

TEST(StepSizes, RowsTakeASixteenthOfMemory) {
  BootOptions open;
  open.max_num_seqs = open.max_num_batched_tokens = 0;
  const std::int64_t row = StepScratch::bytes_for(config(), kLeastOpenRows) / kLeastOpenRows;
  ASSERT_GT(row, 0);
  const auto rows = [&](std::int64_t available) {
    return with_step_sizes(open, config(), available).max_num_batched_tokens;
  };
  EXPECT_EQ(rows(0), kLeastOpenRows);
  EXPECT_EQ(rows(1), kLeastOpenRows);
  EXPECT_EQ(rows(1000 * row * 16), 1000);
  EXPECT_EQ(rows(std::int64_t{1} << 50), kMostOpenRows);
  EXPECT_EQ(with_step_sizes(open, config(), 0).max_num_seqs, kMostOpenSequences);
  BootOptions some = open;
  some.max_num_batched_tokens = 20;
  EXPECT_EQ(with_step_sizes(some, config(), 0).max_num_seqs, 20) << "each needs a row";
  some = open;
  some.max_num_seqs = 900;
  EXPECT_EQ(with_step_sizes(some, config(), 0).max_num_batched_tokens, 900);
}

TEST(StepSizes, TheCacheHasRoomForAllAndForOneOfFullLength) {
  EXPECT_EQ(full_length_sequences(256, 2048), 64);
  EXPECT_EQ(full_length_sequences(256, 256), 256);
  EXPECT_EQ(full_length_sequences(1, 1 << 20), 1);
  EXPECT_EQ(full_length_sequences(3, 1000), 2);
}

TEST(StepSizes, MemoryOfTheCacheIsTakenAtOnceWhereItIsAskedFor) {
  const KvLayout layout{.layers = {{KvKind::kFull, 2, 64, 0}, {KvKind::kFull, 2, 64, 0}}};
  CpuDevice device("generic", 1);
  for (const bool all : {false, true}) {
    constexpr std::int64_t kBlocks = 1024;  // 16 MiB of keys in a layer
    Result<KvCache> cache = KvCache::create(device, layout, kBlocks);
    ASSERT_TRUE(cache.ok());
    const auto here = [&](const std::byte* at) {
      const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
      unsigned char resident = 0;
      EXPECT_EQ(::mincore(reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(at) / page * page), 1, &resident),
                0);
      return (resident & 1) != 0;
    };
    take_memory(*cache, all);
    for (std::int32_t layer = 0; layer < 2; ++layer) {
      const KvPages pages = cache->pages(LayerId{layer});
      const std::size_t bytes = std::size_t{16} * 2 * 64 * sizeof(float) * kBlocks;
      for (const void* part : {pages.k, pages.v}) {
        EXPECT_TRUE(here(static_cast<const std::byte*>(part)));
        EXPECT_EQ(here(static_cast<const std::byte*>(part) + bytes / 2), all);
      }
    }
  }
}

TEST(StepSizes, SequencesFindRoomInTheCache) {
  EXPECT_EQ(sequences_within(256, 800, 16, 4096), 100);
  EXPECT_EQ(sequences_within(256, 800, 16, 32), 256) << "of 32 positions 400 would fit";
  EXPECT_EQ(sequences_within(256, 3, 16, 4096), 1);
  EXPECT_EQ(sequences_within(8, 100000, 16, 4096), 8);
}

}  // namespace
}  // namespace foregate
