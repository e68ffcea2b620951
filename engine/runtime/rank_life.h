// What a rank other than 0 does, whoever started its process: a pulse, and experts that answer rows until the line
// ends.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "engine/base/status.h"
#include "engine/comm/transport.h"
#include "engine/runtime/rank_team.h"
#include "kernels/api/op_table.h"

namespace foregate {

// What a rank computes on; `device` null: it cannot, for the reason given.
struct RankBackend {
  Device* device = nullptr;
  const OpTable* ops = nullptr;
  std::string reason;
};
struct RankBackendWish {
  std::string isa;
  int threads = 1;
  int gpu = -1;             // counted around where there are fewer; negative: the CPU
  std::string cuda_module;  // GpuChoice::module
};
using MakeRankBackend = std::function<RankBackend(const RankBackendWish&)>;

// Beats from a thread of its own, so that neither a long load nor a long step is taken for the end.
class RankPulse {
 public:
  // `beat`: says a byte of rank_team.h; it may end the process.
  explicit RankPulse(std::function<void(char)> beat);
  ~RankPulse();
  void serving();  // from now on it says so, the first time at once

 private:
  void run();

  const std::function<void(char)> beat_;
  std::mutex mutex_;
  std::condition_variable changed_;
  char says_ = kPulseLoading;
  bool news_ = false;
  bool stopping_ = false;
  std::thread thread_;
};

// Takes a setup from the line, loads, serves. kUnavailable when rank 0 has gone.
Status load_and_serve(RankLine& line, RankPulse& pulse, const MakeRankBackend& make_backend);

}  // namespace foregate
