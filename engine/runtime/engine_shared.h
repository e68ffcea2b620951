// What the engine thread and the callers of Engine share. Every member is thread-safe by itself;
// there is no lock that covers two of them.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "engine/api/engine.h"
#include "engine/base/inbox.h"
#include "engine/runtime/live_requests.h"
#include "engine/runtime/watchdog.h"

namespace foregate {

struct Submission {
  std::shared_ptr<const Request> request;
  std::shared_ptr<EventSink> sink;
};

struct EngineShared {
  EngineShared(const LedgerLimits& limits, double step_limit_seconds)
      : live(limits), inbox(static_cast<std::size_t>(limits.max_samples)), watchdog(step_limit_seconds) {}

  LiveRequests live;
  Inbox<Submission> inbox;  // room for every request that `live` lets in: a push fails only when closed
  Watchdog watchdog;
  std::atomic<bool> draining{false};
  std::atomic<bool> failed{false};
  std::atomic<std::uint64_t> refused{0};

  // `samples` is taken; what it is given back holds nothing of use.
  void publish(const EngineStats& now, std::vector<LiveSample>& samples) {
    std::lock_guard lock(stats_mutex_);
    stats_ = now;
    samples_.swap(samples);
  }
  EngineStats published() const {
    std::lock_guard lock(stats_mutex_);
    return stats_;
  }

  std::vector<LiveSample> published_samples() const {
    std::lock_guard lock(stats_mutex_);
    return samples_;
  }

 private:
  mutable std::mutex stats_mutex_;
  EngineStats stats_;
  std::vector<LiveSample> samples_;
};

}  // namespace foregate
