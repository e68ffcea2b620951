#include "tools/bench/machine_limits.h"

#include <algorithm>
#include <atomic>
#include <barrier>
#include <chrono>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

#include "engine/runtime/memory_budget.h"
#include "kernels/cpu/cpu_device.h"
#include "tools/bench/limit_loops.h"

namespace foregate {
namespace {

constexpr std::size_t kLeastReadBytes = std::size_t{128} << 20;  // beyond what caches keep of it

std::size_t given_bytes(const LimitOptions& options) {
  std::size_t given = 0;
  for (const auto& span : options.read_from) given += span.size();
  return given;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// When a thread began and ended its part of a round, in seconds.
struct Span {
  double begin = 0.0;
  double end = 0.0;
};

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Median seconds of a round in which every thread runs job(thread) once: from the first that begins to the last that
// ends. The threads take the times, as the one that waits may be scheduled late.
double median_round(int threads, int rounds, const std::function<void(int)>& job) {
  std::barrier gate(threads);
  std::vector<std::vector<Span>> spans(static_cast<std::size_t>(rounds),
                                       std::vector<Span>(static_cast<std::size_t>(threads)));
  std::vector<std::jthread> workers;
  for (int t = 0; t < threads; ++t) {
    workers.emplace_back([&, t] {
      for (auto& round : spans) {
        gate.arrive_and_wait();
        Span& span = round[static_cast<std::size_t>(t)];
        span.begin = now_seconds();
        job(t);
        span.end = now_seconds();
      }
    });
  }
  workers.clear();  // joins
  std::vector<double> seconds;
  for (const auto& round : spans) {
    Span whole = round.front();
    for (const Span& span : round) whole = {std::min(whole.begin, span.begin), std::max(whole.end, span.end)};
    seconds.push_back(whole.end - whole.begin);
  }
  return median(std::move(seconds));
}

using Pieces = std::vector<std::span<const std::byte>>;

// Thread t's share of `bytes` bytes from the front of the spans: the t-th part of each.
std::vector<Pieces> share_out(const Pieces& spans, std::size_t bytes, std::size_t threads) {
  std::vector<Pieces> shares(threads);
  for (const auto& span : spans) {
    const std::size_t part = std::min(span.size(), bytes) / threads / kReadUnit * kReadUnit;
    for (std::size_t t = 0; t < threads; ++t) shares[t].push_back(span.subspan(t * part, part));
    bytes -= std::min(span.size(), bytes);
  }
  return shares;
}

double read_shares(const std::vector<Pieces>& shares, int rounds) {
  std::atomic<std::uint64_t> sink{0};
  const ReadLoop read = best_read_loop();
  const double seconds = median_round(static_cast<int>(shares.size()), rounds, [&](int t) {
    for (const auto& piece : shares[static_cast<std::size_t>(t)]) sink ^= read(piece.data(), piece.size());
  });
  double bytes = 0.0;
  for (const Pieces& share : shares) {
    for (const auto& piece : share) bytes += static_cast<double>(piece.size());
  }
  return bytes / seconds;
}

// A buffer of its own is the kind of memory that weights live in; each thread touches its part first.
double measure_read(const LimitOptions& options) {
  const auto threads = static_cast<std::size_t>(options.threads);
  if (reads_given_memory(options)) {
    return read_shares(share_out(options.read_from, options.read_bytes, threads), options.rounds);
  }
  const std::size_t part = options.read_bytes / threads / kReadUnit * kReadUnit;
  const Memory memory = allocate_host(part * threads);
  if (!memory) return 0.0;
  const auto at = [&](int thread) { return memory.data() + static_cast<std::size_t>(thread) * part; };
  median_round(options.threads, 1, [&](int t) { std::fill_n(at(t), part, std::byte{0x5a}); });
  return read_shares(share_out({{memory.data(), part * threads}}, part * threads, threads), options.rounds);
}

double measure_peak(const PeakLoop& loop, const LimitOptions& options) {
  std::atomic<float> sink{0.5f};
  const auto seconds_of = [&](std::int64_t steps, int rounds) {
    return median_round(options.threads, rounds, [&](int) { sink = loop.run(steps, sink); });
  };
  constexpr std::int64_t kTrialSteps = 20000;
  constexpr double kShortestTrial = 1e-5;  // no machine does so many steps in less
  const double trial = std::max(kShortestTrial, seconds_of(kTrialSteps, 3));
  const auto steps = static_cast<std::int64_t>(kTrialSteps * std::max(1.0, options.round_seconds / trial));
  const double work = static_cast<double>(steps) * options.threads * loop.macs_per_step;
  return work / seconds_of(steps, options.rounds);
}

}  // namespace

bool reads_given_memory(const LimitOptions& options) {
  return given_bytes(options) >= options.read_bytes;
}

std::size_t spare_read_bytes(const LimitOptions& options) {
  const std::size_t given = std::min(given_bytes(options), options.read_bytes);
  if (given >= kLeastReadBytes) return given;
  const auto available = static_cast<std::size_t>(std::max<std::int64_t>(available_memory(), 0));
  return std::clamp(available / 4, kLeastReadBytes, std::max(kLeastReadBytes, options.read_bytes));
}

MachineLimits measure_limits(const LimitOptions& options) {
  MachineLimits limits;
  limits.read_bytes_per_second = measure_read(options);
  limits.int8_macs_per_second = measure_peak(int8_peak_loop(options.isa), options);
  limits.f32_macs_per_second = measure_peak(f32_peak_loop(options.isa), options);
  return limits;
}

}  // namespace foregate
