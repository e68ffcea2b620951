#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "engine/io/read_queue.h"
#include "kernels/api/check.h"

namespace foregate {
namespace {

class ThreadQueue final : public ReadQueue {
 public:
  explicit ThreadQueue(std::size_t depth) {
    for (std::size_t i = 0; i < depth; ++i) threads_.emplace_back([this] { work(); });
  }
  ~ThreadQueue() override {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
    }
    work_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }
  std::string_view name() const override { return "threads"; }
  std::size_t depth() const override { return threads_.size(); }
  std::size_t in_flight() const override {
    std::lock_guard lock(mutex_);
    return in_flight_;
  }

  void submit(std::span<const ReadOp> ops) override {
    {
      std::lock_guard lock(mutex_);
      CHECK(ops.size() <= depth() - in_flight_);
      in_flight_ += ops.size();
      waiting_.insert(waiting_.end(), ops.begin(), ops.end());
    }
    work_.notify_all();
  }

  void wait(std::vector<ReadEnd>& ends, std::chrono::microseconds limit) override {
    std::unique_lock lock(mutex_);
    if (in_flight_ == 0) return;
    ended_.wait_for(lock, limit, [this] { return !ends_.empty(); });
    in_flight_ -= ends_.size();
    ends.insert(ends.end(), std::make_move_iterator(ends_.begin()), std::make_move_iterator(ends_.end()));
    ends_.clear();
  }

 private:
  void work() {
    std::unique_lock lock(mutex_);
    while (true) {
      work_.wait(lock, [this] { return stop_ || !waiting_.empty(); });
      if (waiting_.empty()) return;  // what was submitted is read even when the queue ends
      const ReadOp op = waiting_.front();
      waiting_.pop_front();
      lock.unlock();
      Status status = op.file->read(op.offset, op.out);
      lock.lock();
      ends_.push_back({op.tag, std::move(status)});
      ended_.notify_one();
    }
  }

  mutable std::mutex mutex_;  // of all below
  std::condition_variable work_;
  std::condition_variable ended_;
  std::deque<ReadOp> waiting_;
  std::vector<ReadEnd> ends_;
  std::size_t in_flight_ = 0;
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace

std::unique_ptr<ReadQueue> make_thread_queue(std::size_t depth) {
  return std::make_unique<ThreadQueue>(depth);
}

std::unique_ptr<ReadQueue> make_read_queue(std::size_t depth, std::string& why_not) {
  auto queue = make_uring_queue(depth);
  why_not = queue.ok() ? "" : queue.status().message();
  return queue.ok() ? std::move(queue).value() : make_thread_queue(depth);
}

}  // namespace foregate
