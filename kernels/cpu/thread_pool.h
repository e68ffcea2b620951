// A fixed set of worker threads that share out numbered items, claimed one at a time.
// Owned by the CPU device; run() may be called from any thread (calls are served one after the
// other) and the calling thread works too. Results do not depend on who runs which item, because
// every item writes memory of its own. Idle workers spin briefly, then sleep until woken.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace foregate {

class ThreadPool {
 public:
  // Runs one item. `worker` is 0 for the calling thread, 1 .. threads() - 1 for the others.
  using ItemFn = void (*)(void* context, std::int64_t item, int worker);

  explicit ThreadPool(int threads);  // >= 1, the caller included
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const;

  // Calls fn(context, i, worker) for every i in [0, items), items < 2^31; returns when all are done.
  // fn must not call run() again.
  void run(std::int64_t items, ItemFn fn, void* context);

 private:
  void worker_loop(int worker);
  bool work_on_current(int worker);
  bool has_work(std::uint64_t ticket) const;
  void wait_for_work();
  void wait_for_finish(std::int64_t items);

  // The ticket holds the job number (high half) and the next unclaimed item (low half), so that a
  // late worker can never claim an item of a job other than the one whose fields it read.
  alignas(64) std::atomic<std::uint64_t> ticket_;
  std::atomic<std::int64_t> items_{0};
  std::atomic<ItemFn> fn_{nullptr};
  std::atomic<void*> context_{nullptr};
  alignas(64) std::atomic<std::int64_t> finished_{0};
  alignas(64) std::atomic<int> sleepers_{0};
  std::atomic<bool> caller_sleeps_{false};
  std::atomic<bool> stop_{false};
  std::mutex run_mutex_;
  std::mutex sleep_mutex_;
  std::condition_variable work_ready_;
  std::condition_variable job_done_;
  std::vector<std::thread> workers_;
};

}  // namespace foregate
