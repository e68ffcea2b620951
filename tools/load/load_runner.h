// Sends requests at their times, each on a thread of its own while it runs, and gathers what they saw.
#pragma once

#include <functional>
#include <vector>

#include "tools/load/load_result.h"
#include "tools/load/stream_request.h"

namespace foregate {

struct LoadPlan {
  std::vector<LoadRequest> requests;
  std::vector<double> times;  // seconds from the start, of each request; it is sent later when too many run
  int concurrency = 0;        // at most so many run at a time; 0: no limit but kMostThreads
};

inline constexpr int kMostThreads = 1024;

// `send` is called on many threads at once. `progress` gets how many have ended; it may be empty.
LoadRun run_load(const LoadPlan& plan, const std::function<LoadOutcome(const LoadRequest&)>& send,
                 const std::function<void(std::size_t)>& progress);

}  // namespace foregate
