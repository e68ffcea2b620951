// Where each expert is and what became of it, for people who look. Any thread asks; the engine thread answers at the
// end of a turn. For some seconds after a look it is watched: only then rows are counted.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "engine/base/clock.h"

namespace foregate {

enum class ExpertPlace : std::uint8_t { kDisk, kLoading, kMemory, kDevice };

struct ExpertCell {
  ExpertPlace place = ExpertPlace::kMemory;
  std::uint32_t ahead_useful = 0;  // loads ahead of its layer that the layer used, since the start
  std::uint32_t ahead_wasted = 0;  // that it did not
  std::uint64_t rows = 0;          // routed to it while it was watched, rejected drafts apart
  std::uint64_t uses = 0;          // steps in which any was
  std::uint64_t hits = 0;          // of them: it was in memory
};

struct ExpertMap {
  std::int64_t steps = 0;             // of the model until then
  std::int64_t watched_steps = 0;     // counted; where tokens of drafts stood, as many as they would have taken
  bool counted = true;                // false: routes do not come to this thread, rows and uses are not known
  std::vector<std::int32_t> experts;  // of each layer; 0: a dense one
  std::vector<ExpertCell> cells;      // of all layers, one after the other
};

class ExpertBoard {
 public:
  using Answer = std::function<void(std::shared_ptr<const ExpertMap>)>;  // called on the engine thread; must not block
  static constexpr TimeNs kWatchNs = 5'000'000'000;

  explicit ExpertBoard(const Clock& clock = system_clock()) : clock_(clock) {}
  // Any thread. Answered once, unless the engine ends before; who waits for an idle engine wakes it (Engine::refresh).
  void ask(Answer answer) {
    watch(kWatchNs);
    std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(answer));
    asked_.store(true, std::memory_order_release);
  }
  void watch(TimeNs time) { until_.store(clock_.now() + time, std::memory_order_relaxed); }

  // The engine thread. The clock is not read where nobody watches.
  bool watched() {
    TimeNs until = until_.load(std::memory_order_relaxed);
    if (until == kNobody) return false;
    if (clock_.now() < until) return true;
    until_.compare_exchange_strong(until, kNobody, std::memory_order_relaxed);
    return false;
  }
  bool asked() const { return asked_.load(std::memory_order_acquire); }
  void answer(ExpertMap map) {
    std::vector<Answer> waiting;
    {
      std::lock_guard lock(mutex_);
      waiting.swap(waiting_);
      asked_.store(false, std::memory_order_relaxed);
    }
    const auto shown = std::make_shared<const ExpertMap>(std::move(map));
    for (Answer& one : waiting) one(shown);
  }

 private:
  static constexpr TimeNs kNobody = 0;
  const Clock& clock_;
  std::atomic<TimeNs> until_{kNobody};
  std::atomic<bool> asked_{false};
  std::mutex mutex_;
  std::vector<Answer> waiting_;
};

}  // namespace foregate
