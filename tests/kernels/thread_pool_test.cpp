// The pool: every item once, also under stress, after sleep, and from several callers.
#include "kernels/cpu/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

namespace foregate::testing {
namespace {

struct Counts {
  std::vector<std::atomic<int>> items;
  std::vector<std::atomic<int>> workers;
  Counts(std::size_t item_count, std::size_t worker_count) : items(item_count), workers(worker_count) {}
  static void item(void* context, std::int64_t i, int worker) {
    Counts& counts = *static_cast<Counts*>(context);
    counts.items[static_cast<std::size_t>(i)].fetch_add(1);
    counts.workers[static_cast<std::size_t>(worker)].fetch_add(1);
  }
};

TEST(ThreadPool, RunsEveryItemOnce) {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (const std::int64_t items : {0, 1, 2, 7, 1000}) {
      Counts counts(static_cast<std::size_t>(items), static_cast<std::size_t>(threads));
      pool.run(items, Counts::item, &counts);
      for (const auto& count : counts.items) ASSERT_EQ(count.load(), 1);
    }
  }
}

TEST(ThreadPool, ManyShortJobs) {
  ThreadPool pool(4);
  for (int job = 0; job < 20000; ++job) {
    // A fresh context each time: a late worker touching an old one would show under the sanitizers.
    const auto counts = std::make_unique<Counts>(3, 4);
    pool.run(3, Counts::item, counts.get());
    for (const auto& count : counts->items) ASSERT_EQ(count.load(), 1) << "job " << job;
  }
}

TEST(ThreadPool, WakesSleepingWorkers) {
  ThreadPool pool(2);
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // long after the spinning ended
    struct Meet {
      std::atomic<int> arrived{0};
    } meet;
    // Both items must be in progress at once, so the sleeping worker has to come.
    pool.run(
        2,
        [](void* context, std::int64_t, int) {
          auto& arrived = static_cast<Meet*>(context)->arrived;
          arrived.fetch_add(1);
          while (arrived.load() < 2) std::this_thread::yield();
        },
        &meet);
    EXPECT_EQ(meet.arrived.load(), 2);
  }
}

TEST(ThreadPool, CallersTakeTurns) {
  ThreadPool pool(3);
  std::vector<std::thread> callers;
  std::atomic<int> wrong{0};
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&] {
      for (int job = 0; job < 500; ++job) {
        Counts counts(17, 3);
        pool.run(17, Counts::item, &counts);
        for (const auto& count : counts.items) wrong += count.load() != 1;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(wrong.load(), 0);
}

}  // namespace
}  // namespace foregate::testing
