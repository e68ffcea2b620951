// A queue of reads that a test holds: reads end when they are let through, in the order of submission, and the test
// sees which were asked for. The owner's calls come from the transfer thread, the others from the test.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "engine/io/read_queue.h"

namespace foregate {

struct HeldReads {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<ReadOp> waiting;
  std::vector<std::uint64_t> offsets;  // of all reads, in order
  std::size_t may_end = 0;             // so many more
  std::size_t most_in_flight = 0;

  void let(std::size_t reads) {
    {
      std::lock_guard lock(mutex);
      may_end += reads;
    }
    changed.notify_all();
  }
  void let_all() { let(SIZE_MAX / 2); }
  // Waits until so many reads were asked for in all.
  std::vector<std::uint64_t> asked(std::size_t reads) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return offsets.size() >= reads; });
    return offsets;
  }
};

class HeldQueue final : public ReadQueue {
 public:
  HeldQueue(std::shared_ptr<HeldReads> held, std::size_t depth) : held_(std::move(held)), depth_(depth) {}
  std::string_view name() const override { return "held"; }
  std::size_t depth() const override { return depth_; }
  std::size_t in_flight() const override {
    std::lock_guard lock(held_->mutex);
    return held_->waiting.size();
  }
  void submit(std::span<const ReadOp> ops) override {
    {
      std::lock_guard lock(held_->mutex);
      for (const ReadOp& op : ops) {
        held_->waiting.push_back(op);
        held_->offsets.push_back(op.offset);
      }
      held_->most_in_flight = std::max(held_->most_in_flight, held_->waiting.size());
      EXPECT_LE(held_->waiting.size(), depth_);
    }
    held_->changed.notify_all();
  }
  void wait(std::vector<ReadEnd>& ends, std::chrono::microseconds limit) override {
    std::unique_lock lock(held_->mutex);
    if (held_->waiting.empty()) return;
    held_->changed.wait_for(lock, limit, [&] { return held_->may_end > 0; });
    for (; held_->may_end > 0 && !held_->waiting.empty(); --held_->may_end) {
      const ReadOp op = held_->waiting.front();
      held_->waiting.pop_front();
      ends.push_back({op.tag, op.file->read(op.offset, op.out)});
    }
  }

 private:
  std::shared_ptr<HeldReads> held_;
  std::size_t depth_;
};

}  // namespace foregate
