// The transfer thread: chunks, what goes first, and what it makes of damage.
#include "engine/experts/transfer.h"

#include <gtest/gtest.h>

#include <map>

#include "tests/engine/experts/held_queue.h"
#include "tests/engine/experts/made_experts.h"

namespace foregate {
namespace {

using made::key;

class TransferTest : public ::testing::Test {
 protected:
  void start(std::unique_ptr<ReadQueue> queue, const TransferOptions& options) {
    memory_ = device_.allocate(64 * 4 * kDirectPage);
    transfer_ = std::make_unique<Transfer>(std::move(queue), options);
  }
  void start_held(std::size_t depth, std::uint64_t chunk) {
    start(std::make_unique<HeldQueue>(held_, depth), {.chunk_bytes = chunk});
  }
  LoadJob job(std::int32_t expert, bool hint = false) {
    return {.extent = &disk_.extent(key(0, expert)),
            .key = key(0, expert),
            .to = at(expert),
            .tag = static_cast<std::uint64_t>(expert),
            .hint = hint};
  }
  std::byte* at(std::int32_t expert) { return memory_.data() + static_cast<std::size_t>(expert) * 4 * kDirectPage; }
  void submit(const std::vector<LoadJob>& jobs) { transfer_->submit(jobs); }
  std::map<std::uint64_t, Status> collect(std::size_t count) {
    std::vector<LoadEnd> ends;
    while (ends.size() < count) transfer_->collect(LoadOwner::kExperts, ends, true);
    EXPECT_EQ(ends.size(), count);
    std::map<std::uint64_t, Status> by_tag;
    for (const LoadEnd& end : ends) EXPECT_TRUE(by_tag.emplace(end.tag, end.status).second);
    return by_tag;
  }
  std::uint64_t offset(std::int32_t expert) const { return disk_.extent(key(0, expert)).offset; }

  made::HeapDevice device_;
  made::Disk disk_{{.count = 8, .pages = {4}}};
  std::shared_ptr<HeldReads> held_ = std::make_shared<HeldReads>();
  Memory memory_;
  std::unique_ptr<Transfer> transfer_;
};

TEST_F(TransferTest, SplitsLoadsIntoChunksAndKeepsTheQueueFull) {
  start_held(3, 3 * kDirectPage);
  submit({job(0), job(1)});
  EXPECT_EQ(held_->asked(3), (std::vector<std::uint64_t>{offset(0), offset(0) + 3 * kDirectPage, offset(1)}));
  held_->let(1);
  EXPECT_EQ(held_->asked(4)[3], offset(1) + 3 * kDirectPage);
  held_->let_all();
  for (const auto& [tag, status] : collect(2)) {
    EXPECT_TRUE(status.ok());
    EXPECT_TRUE(disk_.right(key(0, static_cast<std::int32_t>(tag)), at(static_cast<std::int32_t>(tag))));
  }
  const TransferStats stats = transfer_->stats();
  EXPECT_EQ(stats.loads, 2u);
  EXPECT_EQ(stats.bytes, 8 * kDirectPage);
  EXPECT_EQ(stats.retries + stats.failures, 0u);
  EXPECT_GT(stats.busy_seconds, 0.0);
  EXPECT_EQ(held_->most_in_flight, 3u);
}

TEST_F(TransferTest, DemandsGoBeforeHints) {
  start_held(1, 4 * kDirectPage);
  submit({job(0, true), job(1, true)});
  held_->asked(1);  // the first hint is on its way and stays so
  submit({job(2), job(3)});
  held_->let(1);
  held_->asked(2);
  held_->let_all();
  EXPECT_EQ(held_->asked(4), (std::vector<std::uint64_t>{offset(0), offset(2), offset(3), offset(1)}));
  collect(4);
}

TEST_F(TransferTest, APromotedHintGoesBeforeOtherHints) {
  start_held(1, 4 * kDirectPage);
  submit({job(0)});
  held_->asked(1);
  submit({job(1, true), job(2, true), job(3, true)});
  transfer_->promote(3);   // not taken over by the thread yet, or just now: equal
  transfer_->promote(99);  // of a load that has ended
  held_->let_all();
  EXPECT_EQ(held_->asked(4), (std::vector<std::uint64_t>{offset(0), offset(3), offset(1), offset(2)}));
  collect(4);
}

// Half of it was asked for as a hint when it was promoted: the rest goes before other hints, nothing is read twice.
TEST_F(TransferTest, AHintMayBePromotedHalfWay) {
  start_held(1, kDirectPage);
  submit({job(0, true), job(1, true)});
  held_->asked(1);
  submit({job(2)});
  transfer_->promote(0);
  held_->let_all();
  held_->asked(12);
  for (const auto& [tag, status] : collect(3)) {
    EXPECT_TRUE(status.ok());
    EXPECT_TRUE(disk_.right(key(0, static_cast<std::int32_t>(tag)), at(static_cast<std::int32_t>(tag))));
  }
  EXPECT_EQ(held_->offsets.size(), 12u);
  for (std::size_t i = 8; i < 12; ++i) {
    EXPECT_TRUE(held_->offsets[i] >= offset(1) && held_->offsets[i] < offset(2)) << "the other hint comes last";
  }
}

TEST_F(TransferTest, ACancelledHintEndsUnreadUnlessItWasBegun) {
  start_held(1, kDirectPage);
  submit({job(0, true), job(1, true), job(2, true)});
  held_->asked(1);
  submit({job(3)});
  transfer_->promote(2);
  for (const std::uint64_t tag : {0, 1, 2, 3, 77}) transfer_->cancel(tag);
  EXPECT_EQ(collect(1).at(1).code(), Code::kCancelled);
  held_->let_all();
  const auto ends = collect(3);
  for (const std::uint64_t tag : {0, 2, 3}) EXPECT_TRUE(ends.at(tag).ok()) << tag;
  EXPECT_EQ(held_->offsets.size(), 12u);
  EXPECT_EQ(transfer_->stats().failures, 0u);
}

// However many hints wait, a demand finds most of the queue free.
TEST_F(TransferTest, HintsLeaveRoomInTheQueue) {
  start_held(4, 4 * kDirectPage);
  submit({job(0, true), job(1, true), job(2, true), job(3, true)});
  held_->asked(2);
  submit({job(4), job(5)});
  const auto offsets = held_->asked(4);
  EXPECT_EQ(offsets, (std::vector<std::uint64_t>{offset(0), offset(1), offset(4), offset(5)}));
  held_->let_all();
  collect(6);
}

TEST_F(TransferTest, ABitThatIsRightAtTheSecondReadIsARetry) {
  start(make_thread_queue(1), {.chunk_bytes = 4 * kDirectPage});
  disk_.faults.set(Fault::kFlippedBit, 1000, 0);
  disk_.faults.reads = 999;
  submit({job(0), job(1)});
  for (const auto& [tag, status] : collect(2)) {
    EXPECT_TRUE(status.ok()) << status.to_string();
    EXPECT_TRUE(disk_.right(key(0, static_cast<std::int32_t>(tag)), at(static_cast<std::int32_t>(tag))));
  }
  EXPECT_EQ(disk_.faults.faults, 1u);
  EXPECT_EQ(transfer_->stats().retries, 1u);
  EXPECT_EQ(transfer_->stats().failures, 0u);
  EXPECT_EQ(transfer_->stats().loads, 2u);
}

TEST_F(TransferTest, DamageIsReadOnceMoreAndThenNamed) {
  start(make_thread_queue(2), {.chunk_bytes = kDirectPage});
  disk_.bytes()[offset(2) + 3 * kDirectPage + 5] ^= 1;
  submit({job(1), job(2), job(3)});
  const auto ends = collect(3);
  EXPECT_TRUE(ends.at(1).ok() && ends.at(3).ok());
  EXPECT_EQ(ends.at(2).code(), Code::kDataLoss);
  EXPECT_EQ(ends.at(2).field(), "expert 2 of layer 0");
  EXPECT_EQ(ends.at(2).message().find("m/data.fgw: expert 2 of layer 0: "), 0u) << ends.at(2).to_string();
  EXPECT_EQ(transfer_->stats().retries, 1u);
  EXPECT_EQ(transfer_->stats().failures, 1u);
  EXPECT_EQ(disk_.faults.reads, 16u) << "four chunks, those of the damaged one twice";
}

TEST_F(TransferTest, UncheckedDamagePasses) {
  start(make_thread_queue(2), {.chunk_bytes = kDirectPage, .verify = false});
  disk_.bytes()[offset(2) + 5] ^= 1;
  submit({job(2)});
  EXPECT_TRUE(collect(1).at(2).ok());
  EXPECT_FALSE(disk_.right(key(0, 2), at(2)));
}

TEST_F(TransferTest, FailedReadsAreTriedOnceMoreAndThenNamed) {
  const std::pair<Fault, Code> kinds[] = {{Fault::kIoError, Code::kUnavailable}, {Fault::kShortFile, Code::kDataLoss}};
  for (const auto& [fault, code] : kinds) {
    disk_.faults.set(fault, 1);
    start(make_thread_queue(2), {.chunk_bytes = 4 * kDirectPage});
    submit({job(5)});
    const Status status = collect(1).at(5);
    EXPECT_EQ(status.code(), code);
    EXPECT_EQ(status.field(), "expert 5 of layer 0");
    EXPECT_EQ(status.message().find("m/data.fgw: expert 5 of layer 0: "), 0u) << status.to_string();
    EXPECT_EQ(status.message().rfind("m/data.fgw"), 0u) << "the file is named once: " << status.message();
    EXPECT_EQ(disk_.faults.reads, 2u);
    EXPECT_EQ(transfer_->stats().failures, 1u);
  }
}

// Whichever read fails, one read of it is forgiven.
TEST_F(TransferTest, EveryReadMayFailOnce) {
  for (std::uint64_t n = 0; n < 32; ++n) {
    for (const Fault fault : {Fault::kIoError, Fault::kShortFile, Fault::kFlippedBit}) {
      disk_.faults.set(fault, 1000);
      disk_.faults.reads = 999 - n;
      start(make_thread_queue(4), {.chunk_bytes = kDirectPage});
      submit({job(0), job(1), job(2), job(3), job(4, true), job(5, true), job(6, true), job(7, true)});
      for (const auto& [tag, status] : collect(8)) EXPECT_TRUE(status.ok()) << n << status.to_string();
      for (std::int32_t e = 0; e < 8; ++e) EXPECT_TRUE(disk_.right(key(0, e), at(e)));
      EXPECT_EQ(transfer_->stats().retries, 1u);
    }
  }
}

// What a hint's second read takes must not hold up demands; a promoted one is a demand, even with all of it in flight.
TEST_F(TransferTest, ASecondReadKeepsTheRankOfItsLoad) {
  for (const bool promoted : {false, true}) {
    held_ = std::make_shared<HeldReads>();
    start_held(3, 4 * kDirectPage);
    disk_.faults.set(Fault::kIoError, 1000);
    disk_.faults.reads = 999;  // the first read fails
    submit({job(0, true)});
    held_->asked(1);
    if (promoted) transfer_->promote(0);
    submit({job(1), job(2)});
    held_->asked(3);  // so what was said before is known
    submit({job(3)});
    held_->let(1);
    EXPECT_EQ(held_->asked(4)[3], promoted ? offset(0) : offset(3));
    held_->let_all();
    for (const auto& [tag, status] : collect(4)) EXPECT_TRUE(status.ok());
  }
}

TEST_F(TransferTest, EndsWithLoadsUnderWay) {
  for (int round = 0; round < 50; ++round) {
    start(make_thread_queue(2), {.chunk_bytes = kDirectPage});
    submit({job(0), job(1), job(2, true), job(3, true)});
    std::vector<LoadEnd> ends;
    if (round % 2 == 0) transfer_->collect(LoadOwner::kExperts, ends, true);
    EXPECT_EQ(ends.empty(), round % 2 == 1);
    transfer_.reset();
  }
}

}  // namespace
}  // namespace foregate
