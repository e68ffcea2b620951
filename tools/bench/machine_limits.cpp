#include "tools/bench/machine_limits.h"

#include <algorithm>
#include <atomic>
#include <barrier>
#include <chrono>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

#include "kernels/cpu/cpu_device.h"
#include "tools/bench/limit_loops.h"

namespace foregate {
namespace {

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Median seconds of a round in which every thread runs job(thread) once.
double median_round(int threads, int rounds, const std::function<void(int)>& job) {
  std::barrier gate(threads + 1);
  std::vector<std::jthread> workers;
  for (int t = 0; t < threads; ++t) {
    workers.emplace_back([&, t] {
      for (int round = 0; round < rounds; ++round) {
        gate.arrive_and_wait();
        job(t);
        gate.arrive_and_wait();
      }
    });
  }
  std::vector<double> seconds;
  for (int round = 0; round < rounds; ++round) {
    gate.arrive_and_wait();
    const auto start = std::chrono::steady_clock::now();
    gate.arrive_and_wait();
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return median(std::move(seconds));
}

// The memory is the kind that weights live in; each thread touches its part first.
double measure_read(const LimitOptions& options) {
  const auto threads = static_cast<std::size_t>(options.threads);
  const std::size_t part = options.read_bytes / threads / kReadUnit * kReadUnit;
  const Memory memory = allocate_host(part * threads);
  if (!memory) return 0.0;
  const auto at = [&](int thread) { return memory.data() + static_cast<std::size_t>(thread) * part; };
  median_round(options.threads, 1, [&](int t) { std::fill_n(at(t), part, std::byte{0x5a}); });
  std::atomic<std::uint64_t> sink{0};
  const ReadLoop read = best_read_loop();
  const double seconds = median_round(options.threads, options.rounds, [&](int t) { sink ^= read(at(t), part); });
  return static_cast<double>(part * threads) / seconds;
}

double measure_peak(const PeakLoop& loop, const LimitOptions& options) {
  std::atomic<float> sink{0.5f};
  const auto seconds_of = [&](std::int64_t steps, int rounds) {
    return median_round(options.threads, rounds, [&](int) { sink = loop.run(steps, sink); });
  };
  constexpr std::int64_t kTrialSteps = 20000;
  const double trial = seconds_of(kTrialSteps, 3);
  const auto steps = static_cast<std::int64_t>(kTrialSteps * std::max(1.0, options.round_seconds / trial));
  const double work = static_cast<double>(steps) * options.threads * loop.macs_per_step;
  return work / seconds_of(steps, options.rounds);
}

}  // namespace

MachineLimits measure_limits(const LimitOptions& options) {
  MachineLimits limits;
  limits.read_bytes_per_second = measure_read(options);
  limits.int8_macs_per_second = measure_peak(int8_peak_loop(options.isa), options);
  limits.f32_macs_per_second = measure_peak(f32_peak_loop(options.isa), options);
  return limits;
}

}  // namespace foregate
