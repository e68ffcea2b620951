// The raw speed of a disk for experts: what is read, how many at a time, and what is said of failures and page caches.
#include "tools/bench/disk_limit.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <set>
#include <thread>

namespace foregate {
namespace {

constexpr std::uint64_t kPart = 2 * kDirectPage;

// Takes a while for each read and keeps what was asked of it.
class SlowFile final : public File {
 public:
  std::uint64_t size() const override { return 100 * kPart; }
  const std::string& path() const override { return path_; }
  bool direct() const override { return is_direct; }
  Status read(std::uint64_t offset, std::span<std::byte> out) const override {
    const int now = ++running_;
    {
      std::lock_guard lock(mutex);
      most_running = std::max(most_running, now);
      offsets.insert(offset);
      ++reads;
      aligned = aligned && offset % kDirectPage == 0 && out.size() % kDirectPage == 0 &&
                reinterpret_cast<std::uintptr_t>(out.data()) % kDirectPage == 0;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    --running_;
    return offset == bad_offset ? unavailable("Input/output error") : Status();
  }

  bool is_direct = true;
  std::uint64_t bad_offset = UINT64_MAX;
  mutable std::mutex mutex;
  mutable std::set<std::uint64_t> offsets;
  mutable int most_running = 0;
  mutable std::int64_t reads = 0;
  mutable bool aligned = true;

 private:
  std::string path_ = "slow";
  mutable std::atomic<int> running_{0};
};

ExpertTable table_of(const File& file) {
  ExpertTable table;
  table.experts = {8};
  for (std::uint64_t e = 0; e < 8; ++e) {
    ExpertExtent extent;
    extent.file = &file;
    extent.offset = kDirectPage + e * kPart;
    extent.bytes = e % 2 == 0 ? kPart : kDirectPage;
    table.extents.push_back(extent);
  }
  return table;
}

TEST(MeasureDisk, ReadsWholeExpertsAtRandom) {
  const SlowFile file;
  const auto limit = measure_disk(table_of(file), {.depth = 3, .seconds = 0.2});
  ASSERT_TRUE(limit.ok()) << limit.status().to_string();
  EXPECT_EQ(limit->reads, file.reads);
  EXPECT_GT(limit->reads, 30);
  EXPECT_EQ(file.offsets.size(), 8u) << "every expert comes up";
  EXPECT_TRUE(file.aligned);
  EXPECT_TRUE(limit->direct);
  EXPECT_LE(file.most_running, 3);
  const double bytes = static_cast<double>(limit->reads) * 1.5 * kDirectPage;  // half of them have two pages
  EXPECT_NEAR(limit->bytes_per_second, bytes / 0.2, 0.4 * bytes / 0.2);
}

TEST(MeasureDisk, ReadsOneRoundAtLeast) {
  const SlowFile file;
  const auto limit = measure_disk(table_of(file), {.depth = 5, .seconds = 0.0});
  ASSERT_TRUE(limit.ok());
  EXPECT_EQ(limit->reads, 5);
  EXPECT_GT(limit->bytes_per_second, 0.0);
}

TEST(MeasureDisk, SaysWhenReadsFailOrAreCached) {
  SlowFile file;
  file.is_direct = false;
  EXPECT_FALSE(measure_disk(table_of(file), {.seconds = 0.01})->direct);
  file.bad_offset = kDirectPage;
  EXPECT_EQ(measure_disk(table_of(file), {.seconds = 0.2}).status().code(), Code::kUnavailable);
}

}  // namespace
}  // namespace foregate
