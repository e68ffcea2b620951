// Bounded multi-producer, single-consumer queue between threads. A full inbox refuses; it never
// blocks a producer. The consumer waits until there is something, a deadline passes, or it closes.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <utility>
#include <vector>

namespace foregate {

template <class T>
class Inbox {
 public:
  explicit Inbox(std::size_t capacity) : capacity_(capacity) {}

  // False when full or closed; the item is then untouched.
  bool try_push(T&& item) {
    {
      std::lock_guard lock(mutex_);
      if (closed_ || items_.size() >= capacity_) return false;
      items_.push_back(std::move(item));
    }
    ready_.notify_one();
    return true;
  }

  // Moves everything waiting into `out` (appended). Does not block.
  void drain(std::vector<T>& out) {
    std::lock_guard lock(mutex_);
    for (T& item : items_) out.push_back(std::move(item));
    items_.clear();
  }

  // Blocks until an item waits, the inbox is closed, wake() is called, or `timeout` passes.
  void wait_for(std::chrono::nanoseconds timeout) {
    std::unique_lock lock(mutex_);
    ready_.wait_for(lock, timeout, [this] { return !items_.empty() || closed_ || woken_; });
    woken_ = false;
  }

  void wake() {
    {
      std::lock_guard lock(mutex_);
      woken_ = true;
    }
    ready_.notify_one();
  }

  void close() {
    {
      std::lock_guard lock(mutex_);
      closed_ = true;
    }
    ready_.notify_all();
  }

  bool closed() const {
    std::lock_guard lock(mutex_);
    return closed_;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<T> items_;
  std::size_t capacity_;
  bool closed_ = false;
  bool woken_ = false;
};

}  // namespace foregate
