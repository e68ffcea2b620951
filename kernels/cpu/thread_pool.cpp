#include "kernels/cpu/thread_pool.h"

#include <chrono>

#include "kernels/api/check.h"

namespace foregate {
namespace {

// A waiting thread spins longer than the parts of a step that one thread does alone (a router over a batch, sorting
// rows by expert): waking a sleeper costs tens of microseconds, more in a virtual machine, and a step has tens of ops.
// It soon begins to offer its processor to others, among them a worker that still holds an item.
constexpr std::chrono::microseconds kSpinTime(200);
constexpr std::chrono::microseconds kSelfishTime(20);
constexpr int kSpinsPerLook = 32;  // between two looks at the clock
constexpr std::uint64_t kItemMask = 0xffffffffu;
// No job: every item number of a real job lies below this one.
constexpr std::uint64_t kClosed = kItemMask;

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Waits for `done` without sleeping; false when it did not come in time.
template <class Done>
bool spin_until(const Done& done) {
  const auto start = std::chrono::steady_clock::now();
  for (;;) {
    for (int spin = 0; spin < kSpinsPerLook; ++spin) {
      if (done()) return true;
      relax();
    }
    const auto waited = std::chrono::steady_clock::now() - start;
    if (waited > kSpinTime) return false;
    if (waited > kSelfishTime) std::this_thread::yield();
  }
}

}  // namespace

ThreadPool::ThreadPool(int threads) : ticket_(kClosed) {
  CHECK(threads >= 1);
  for (int worker = 1; worker < threads; ++worker) workers_.emplace_back([this, worker] { worker_loop(worker); });
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(sleep_mutex_);
    stop_.store(true);
  }
  work_ready_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

int ThreadPool::threads() const {
  return static_cast<int>(workers_.size()) + 1;
}

void ThreadPool::run(std::int64_t items, ItemFn fn, void* context) {
  CHECK(items >= 0 && items < static_cast<std::int64_t>(kClosed >> 1));
  if (items == 0) return;
  const std::lock_guard lock(run_mutex_);
  if (items == 1 || workers_.empty()) {
    for (std::int64_t i = 0; i < items; ++i) fn(context, i, 0);
    return;
  }
  // The ticket is closed before the fields change: a worker that reads a new field therefore sees a
  // ticket that moved, and its claim on the old job fails.
  const std::uint64_t job = (ticket_.load(std::memory_order_relaxed) >> 32) + 1;
  ticket_.store((job << 32) | kClosed, std::memory_order_seq_cst);
  finished_.store(0, std::memory_order_release);
  items_.store(items, std::memory_order_release);
  fn_.store(fn, std::memory_order_release);
  context_.store(context, std::memory_order_release);
  ticket_.store((job + 1) << 32, std::memory_order_seq_cst);
  if (sleepers_.load(std::memory_order_seq_cst) > 0) {
    { const std::lock_guard sleep(sleep_mutex_); }
    work_ready_.notify_all();
  }
  work_on_current(0);
  wait_for_finish(items);
}

// Claims and runs items of the published job until none is left; false when there was none at all.
bool ThreadPool::work_on_current(int worker) {
  bool worked = false;
  for (;;) {
    std::uint64_t ticket = ticket_.load(std::memory_order_acquire);
    const std::int64_t item = static_cast<std::int64_t>(ticket & kItemMask);
    const std::int64_t items = items_.load(std::memory_order_acquire);
    const ItemFn fn = fn_.load(std::memory_order_acquire);
    void* context = context_.load(std::memory_order_acquire);
    if (item >= items) return worked;
    if (!ticket_.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel)) continue;
    fn(context, item, worker);
    worked = true;
    if (finished_.fetch_add(1, std::memory_order_seq_cst) + 1 == items && caller_sleeps_.load()) {
      { const std::lock_guard sleep(sleep_mutex_); }
      job_done_.notify_all();
    }
  }
}

bool ThreadPool::has_work(std::uint64_t ticket) const {
  return static_cast<std::int64_t>(ticket & kItemMask) < items_.load(std::memory_order_acquire);
}

void ThreadPool::worker_loop(int worker) {
  while (!stop_.load(std::memory_order_acquire)) {
    if (!work_on_current(worker)) wait_for_work();
  }
}

void ThreadPool::wait_for_work() {
  const std::uint64_t seen = ticket_.load(std::memory_order_acquire) >> 32;
  if (spin_until([this] {
        return has_work(ticket_.load(std::memory_order_acquire)) || stop_.load(std::memory_order_relaxed);
      })) {
    return;
  }
  std::unique_lock lock(sleep_mutex_);
  sleepers_.fetch_add(1, std::memory_order_seq_cst);
  // Any later job ends the sleep, even one that is over by now: the next will follow soon.
  work_ready_.wait(lock,
                   [this, seen] { return stop_.load() || ticket_.load(std::memory_order_seq_cst) >> 32 != seen; });
  sleepers_.fetch_sub(1, std::memory_order_relaxed);
}

void ThreadPool::wait_for_finish(std::int64_t items) {
  if (spin_until([this, items] { return finished_.load(std::memory_order_acquire) == items; })) return;
  std::unique_lock lock(sleep_mutex_);
  caller_sleeps_.store(true, std::memory_order_seq_cst);
  job_done_.wait(lock, [this, items] { return finished_.load(std::memory_order_seq_cst) == items; });
  caller_sleeps_.store(false, std::memory_order_relaxed);
}

}  // namespace foregate
