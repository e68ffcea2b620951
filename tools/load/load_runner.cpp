#include "tools/load/load_runner.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <numeric>
#include <thread>

namespace foregate {
namespace {

using Clock = std::chrono::steady_clock;

double since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

LoadRun run_load(const LoadPlan& plan, const std::function<LoadOutcome(const LoadRequest&)>& send,
                 const std::function<void(std::size_t)>& progress) {
  const std::size_t count = plan.requests.size();
  std::vector<std::size_t> order(count);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return plan.times[a] < plan.times[b]; });
  LoadRun run;
  run.concurrency = plan.concurrency;
  run.outcomes.resize(count);
  std::atomic<std::size_t> next{0};
  std::size_t ended = 0;
  std::mutex mutex;
  const auto start = Clock::now();
  // A thread takes the next request, waits for its time, sends it, and takes another.
  const auto work = [&] {
    for (std::size_t at = next++; at < count; at = next++) {
      const std::size_t number = order[at];
      std::this_thread::sleep_until(
          start + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(plan.times[number])));
      const double sent_at = since(start);
      LoadOutcome outcome = send(plan.requests[number]);
      outcome.sent_at = sent_at;
      const std::lock_guard lock(mutex);
      run.outcomes[number] = std::move(outcome);
      if (progress) progress(++ended);
    }
  };
  const int most = plan.concurrency > 0 ? std::min(plan.concurrency, kMostThreads) : kMostThreads;
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < std::min(count, static_cast<std::size_t>(most)); ++i) threads.emplace_back(work);
  for (std::thread& thread : threads) thread.join();
  run.duration = since(start);
  return run;
}

}  // namespace foregate
