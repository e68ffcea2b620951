// Both queues of reads: the bytes of the file whatever the alignment and the number in flight, one end for each read,
// and what goes wrong in a file comes out with the read that met it.
#include "engine/io/read_queue.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <set>

#include "tests/engine/io/fault_files.h"
#include "tests/engine/weights/memory_files.h"

namespace foregate {
namespace {

namespace fs = std::filesystem;
using std::chrono::microseconds;
using std::chrono::seconds;

constexpr std::size_t kPage = kDirectPage;
constexpr std::size_t kBytes = 64 * kPage + 100;

struct Free {
  void operator()(std::byte* p) const { std::free(p); }
};
using Pages = std::unique_ptr<std::byte, Free>;

Pages pages(std::size_t count) {
  return Pages(static_cast<std::byte*>(std::aligned_alloc(kPage, count * kPage)));
}

class ReadQueues : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    path_ = fs::path(::testing::TempDir()) / ("foregate_queue_" + std::to_string(::getpid()));
    for (std::size_t i = 0; i < kBytes; ++i) text_ += static_cast<char>(i * 31 + i / 251);
    std::ofstream(path_, std::ios::binary) << text_;
    queue_ = make(8);
    if (queue_ == nullptr) GTEST_SKIP() << "io_uring is refused here";
  }
  void TearDown() override {
    queue_.reset();
    fs::remove(path_);
  }
  static std::unique_ptr<ReadQueue> make(std::size_t depth) {
    if (GetParam() == std::string("threads")) return make_thread_queue(depth);
    auto queue = make_uring_queue(depth);
    return queue.ok() ? std::move(queue).value() : nullptr;
  }
  std::unique_ptr<File> open(bool direct) {
    auto file = direct ? local_files().open_direct(path_.string()) : local_files().open(path_.string());
    EXPECT_TRUE(file.ok());
    return std::move(file).value();
  }
  // Waits until none is in flight; ends by tag, each tag once.
  std::map<std::uint64_t, Status> drain() {
    std::vector<ReadEnd> ends;
    while (queue_->in_flight() > 0) queue_->wait(ends, seconds(10));
    std::map<std::uint64_t, Status> by_tag;
    for (ReadEnd& end : ends) EXPECT_TRUE(by_tag.emplace(end.tag, end.status).second) << "two ends of " << end.tag;
    return by_tag;
  }
  void expect_bytes(const std::byte* got, std::size_t offset, std::size_t bytes) {
    EXPECT_EQ(std::memcmp(got, text_.data() + offset, bytes), 0) << offset << " " << bytes;
  }

  fs::path path_;
  std::string text_;
  std::unique_ptr<ReadQueue> queue_;
};

TEST_P(ReadQueues, HaveANameAndADepth) {
  EXPECT_EQ(queue_->name(), GetParam());
  EXPECT_EQ(queue_->depth(), 8u);
  EXPECT_EQ(queue_->in_flight(), 0u);
  std::vector<ReadEnd> ends;
  queue_->wait(ends, seconds(10));  // nothing in flight: returns at once
  EXPECT_TRUE(ends.empty());
}

TEST_P(ReadQueues, FillWholeReadsAtEveryAlignment) {
  const Pages memory = pages(8 * 8);
  for (const bool direct : {false, true}) {
    const auto file = open(direct);
    for (const std::size_t shift : {std::size_t{0}, std::size_t{1}, std::size_t{512}}) {
      for (const std::size_t offset : {std::size_t{0}, std::size_t{7}, kPage, kBytes - 3 * kPage}) {
        for (const std::size_t bytes : {std::size_t{0}, std::size_t{5}, kPage, 3 * kPage}) {
          std::byte* to = memory.get() + shift;
          std::memset(to, 0xaa, bytes + 1);
          const ReadOp op{file.get(), offset, {to, bytes}, 3};
          queue_->submit({&op, 1});
          const auto ends = drain();
          ASSERT_EQ(ends.size(), 1u);
          EXPECT_TRUE(ends.at(3).ok()) << ends.at(3).to_string();
          expect_bytes(to, offset, bytes);
          EXPECT_EQ(to[bytes], std::byte{0xaa}) << "a read wrote past its memory";
        }
      }
    }
  }
}

// Rounds of as many as the queue is deep, topped up as they end: every tag comes back once, with its own bytes.
TEST_P(ReadQueues, KeepManyInFlight) {
  const auto file = open(true);
  const Pages memory = pages(64);
  std::vector<ReadEnd> ends;
  std::uint64_t submitted = 0;
  std::set<std::uint64_t> seen;
  std::size_t most = 0;
  while (seen.size() < 640) {
    std::vector<ReadOp> ops;
    while (submitted < 640 && queue_->in_flight() + ops.size() < queue_->depth()) {
      const std::size_t page = submitted % 64;
      ops.push_back({file.get(), page * kPage, {memory.get() + page * kPage, kPage}, submitted++});
    }
    if (!ops.empty()) queue_->submit(ops);
    most = std::max(most, queue_->in_flight());
    ends.clear();
    queue_->wait(ends, seconds(10));
    ASSERT_FALSE(ends.empty());
    for (const ReadEnd& end : ends) {
      EXPECT_TRUE(end.status.ok());
      EXPECT_TRUE(seen.insert(end.tag).second);
      expect_bytes(memory.get() + end.tag % 64 * kPage, end.tag % 64 * kPage, kPage);
    }
  }
  EXPECT_EQ(queue_->in_flight(), 0u);
  EXPECT_EQ(most, queue_->depth());
}

TEST_P(ReadQueues, ReadsPastTheEndFailAloneAndOthersDoNot) {
  const Pages memory = pages(8);
  for (const bool direct : {false, true}) {
    const auto file = open(direct);
    const ReadOp ops[] = {{file.get(), 64 * kPage, {memory.get(), kPage}, 1},
                          {file.get(), UINT64_MAX, {memory.get() + kPage, kPage}, 2},
                          {file.get(), kPage, {memory.get() + 2 * kPage, kPage}, 3},
                          {file.get(), kBytes - kPage, {memory.get() + 3 * kPage, kPage}, 4}};
    queue_->submit(ops);
    const auto ends = drain();
    ASSERT_EQ(ends.size(), 4u);
    EXPECT_EQ(ends.at(1).code(), Code::kDataLoss);
    EXPECT_EQ(ends.at(2).code(), Code::kDataLoss);
    EXPECT_TRUE(ends.at(3).ok() && ends.at(4).ok());
    expect_bytes(memory.get() + 2 * kPage, kPage, kPage);
    expect_bytes(memory.get() + 3 * kPage, kBytes - kPage, kPage);
  }
}

// The size was taken at open; the file is cut afterwards, in the middle of a read and before it.
TEST_P(ReadQueues, AFileThatBecameShorterIsDataLoss) {
  const Pages memory = pages(8);
  for (const bool direct : {true, false}) {
    const auto file = open(direct);
    fs::resize_file(path_, direct ? 9 * kPage + 10 : 9 * kPage);
    const ReadOp ops[] = {{file.get(), 8 * kPage, {memory.get(), 4 * kPage}, 1},
                          {file.get(), 32 * kPage, {memory.get() + 4 * kPage, kPage}, 2},
                          {file.get(), 8 * kPage, {memory.get() + 5 * kPage, kPage}, 3}};
    queue_->submit(ops);
    const auto ends = drain();
    ASSERT_EQ(ends.size(), 3u);
    EXPECT_EQ(ends.at(1).code(), Code::kDataLoss);
    EXPECT_NE(ends.at(1).message().find(path_.string()), std::string::npos) << ends.at(1).to_string();
    EXPECT_EQ(ends.at(2).code(), Code::kDataLoss);
    EXPECT_TRUE(ends.at(3).ok());
    expect_bytes(memory.get() + 5 * kPage, 8 * kPage, kPage);
    std::ofstream(path_, std::ios::binary) << text_;
  }
}

TEST_P(ReadQueues, FilesWithoutADescriptorAreReadToo) {
  MemoryFiles disk;
  disk.contents["f"] = text_;
  auto file = disk.open("f");
  ASSERT_TRUE(file.ok());
  EXPECT_EQ((*file)->descriptor(), -1);
  const auto local = open(true);
  const Pages memory = pages(8);
  std::vector<ReadOp> ops;
  for (std::size_t i = 0; i < 8; ++i) {
    const File* from = i % 2 == 0 ? file->get() : local.get();
    ops.push_back({from, (i + 5) * kPage, {memory.get() + i * kPage, kPage}, i});
  }
  queue_->submit(ops);
  EXPECT_EQ(queue_->in_flight(), 8u);
  const auto ends = drain();
  ASSERT_EQ(ends.size(), 8u);
  for (const auto& [tag, status] : ends) EXPECT_TRUE(status.ok());
  expect_bytes(memory.get(), 5 * kPage, 8 * kPage);
}

TEST_P(ReadQueues, EveryNthReadMayFail) {
  MemoryFiles disk;
  disk.contents["f"] = text_;
  FaultFiles faulty(disk);
  auto file = faulty.open("f");
  ASSERT_TRUE(file.ok());
  const Pages memory = pages(64);
  const std::pair<Fault, Code> kinds[] = {{Fault::kIoError, Code::kUnavailable},
                                          {Fault::kShortFile, Code::kDataLoss},
                                          {Fault::kSlow, Code::kOk},
                                          {Fault::kFlippedBit, Code::kOk}};
  for (const auto& [fault, code] : kinds) {
    for (const std::uint64_t every : {1, 2, 3, 7}) {
      faulty.set(fault, every);
      std::size_t failed = 0;
      std::size_t damaged = 0;
      for (std::size_t first = 0; first < 64; first += 8) {
        std::vector<ReadOp> ops;
        for (std::size_t i = first; i < first + 8; ++i) {
          ops.push_back({file->get(), i * kPage, {memory.get() + i * kPage, kPage}, i});
        }
        queue_->submit(ops);
        for (const auto& [tag, status] : drain()) {
          if (status.code() != Code::kOk) {
            EXPECT_EQ(status.code(), code);
            ++failed;
          } else if (std::memcmp(memory.get() + tag * kPage, text_.data() + tag * kPage, kPage) != 0) {
            ++damaged;
          }
        }
      }
      EXPECT_EQ(faulty.reads, 64u);
      EXPECT_EQ(faulty.faults, 64 / every);
      EXPECT_EQ(failed, code == Code::kOk ? 0 : 64 / every);
      EXPECT_EQ(damaged, fault == Fault::kFlippedBit ? 64 / every : 0);
    }
  }
}

TEST_P(ReadQueues, EndAfterWhatIsInFlight) {
  const auto file = open(true);
  const Pages memory = pages(64);
  for (int round = 0; round < 20; ++round) {
    std::memset(memory.get(), 0, 64 * kPage);
    auto queue = make(4);
    std::vector<ReadOp> ops;
    for (std::size_t i = 0; i < 4; ++i) {
      ops.push_back({file.get(), i * 16 * kPage, {memory.get() + i * 16 * kPage, 16 * kPage}, i});
    }
    queue->submit(ops);
    queue.reset();
    expect_bytes(memory.get(), 0, 64 * kPage);
  }
}

INSTANTIATE_TEST_SUITE_P(Queues, ReadQueues, ::testing::Values("io_uring", "threads"));

// A file whose reads wait until they are let through, one by one.
class GatedFile final : public File {
 public:
  std::uint64_t size() const override { return 1 << 20; }
  const std::string& path() const override { return path_; }
  Status read(std::uint64_t offset, std::span<std::byte> out) const override {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return open_.count(offset) == 1; });
    std::memset(out.data(), static_cast<int>(offset), out.size());
    return {};
  }
  void let(std::uint64_t offset) {
    {
      std::lock_guard lock(mutex_);
      open_.insert(offset);
    }
    changed_.notify_all();
  }

 private:
  std::string path_ = "gated";
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::set<std::uint64_t> open_;
};

TEST(ThreadQueue, ReadsEndInTheOrderOfTheDiskAndAWaitHasALimit) {
  GatedFile file;
  const auto queue = make_thread_queue(3);
  std::byte memory[3];
  const ReadOp ops[] = {{&file, 0, {memory, 1}, 0}, {&file, 1, {memory + 1, 1}, 1}, {&file, 2, {memory + 2, 1}, 2}};
  queue->submit(ops);
  std::vector<ReadEnd> ends;
  queue->wait(ends, microseconds(100));
  EXPECT_TRUE(ends.empty());
  EXPECT_EQ(queue->in_flight(), 3u);
  for (const std::uint64_t next : {2, 0, 1}) {
    file.let(next);
    ends.clear();
    queue->wait(ends, seconds(10));
    ASSERT_EQ(ends.size(), 1u);
    EXPECT_EQ(ends[0].tag, next);
    EXPECT_EQ(memory[next], static_cast<std::byte>(next));
  }
  EXPECT_EQ(queue->in_flight(), 0u);
}

TEST(ReadQueue, SaysWhyTheFasterOneIsNotTaken) {
  std::string why_not = "stale";
  const auto queue = make_read_queue(4, why_not);
  ASSERT_NE(queue, nullptr);
  EXPECT_EQ(queue->name() == "io_uring", why_not.empty()) << why_not;
  const auto none = make_read_queue(0, why_not);  // no ring has no places
  EXPECT_EQ(none->name(), "threads");
  EXPECT_EQ(why_not.find("io_uring: "), 0u) << why_not;
}

}  // namespace
}  // namespace foregate
