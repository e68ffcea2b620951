// A few threads for parsing, templates and tokenizing, with a bounded queue. submit() never blocks.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace foregate {

class WorkerPool {
 public:
  WorkerPool(std::size_t threads, std::size_t queue_capacity);
  ~WorkerPool();                            // drops what has not begun, waits for what has
  bool submit(std::function<void()> task);  // false when the queue is full
  void finish();                            // waits for all that was submitted; nothing more is taken

 private:
  void work();
  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<std::function<void()>> tasks_;
  std::size_t capacity_;
  bool stopping_ = false;
  bool finishing_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace foregate
