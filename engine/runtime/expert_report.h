// What the expert store did, for people and for /metrics: series named moe_*, and a line in the log every ten seconds
// in which experts were loaded. Engine thread.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "engine/api/engine.h"
#include "engine/base/clock.h"
#include "engine/base/metrics.h"
#include "engine/runtime/counter_follower.h"

namespace foregate {

class ExpertReport {
 public:
  // With no registry given the series go to one of its own, which nobody reads.
  ExpertReport(Metrics* registry, const std::string& model_name);
  void figures(const ExpertFigures& now, TimeNs time);

 private:
  struct HintSeries {
    CounterFollower asked, useful, late, wasted;
    void follow(const HintBytes& now);
  };
  static HintSeries hint_series(Metrics& metrics, const std::string& model_name, const char* kind);
  void log_line(const ExpertFigures& now, TimeNs time);
  void log_hints(const ExpertFigures& now);
  void policy_figures(const PolicyFigures& now);

  std::unique_ptr<Metrics> own_;
  CounterFollower hits_, misses_, late_, evictions_, loaded_bytes_, retries_, failures_, stall_;
  CounterFollower certain_, certain_right_, certain_hints_, certain_useful_, certain_late_;
  CounterFollower ahead_, ahead_useful_, ahead_late_, ahead_wasted_;
  CounterFollower token_hints_, token_hints_useful_, token_hints_wasted_, token_guesses_, token_guesses_right_;
  CounterFollower hints_, hints_useful_, hints_wasted_, guesses_, guesses_right_, guesses_right_plain_, mixed_guesses_;
  HintSeries hint_bytes_, certain_bytes_;
  struct PolicySeries {
    CounterFollower hits;
    Gauge* ratio = nullptr;
    Gauge* decides = nullptr;
  };
  CounterFollower sweeps_, repeated_, shadow_uses_, policy_switches_;
  std::array<PolicySeries, kShadowPolicies.size()> policies_;  // as kShadowPolicies has them
  std::string_view policy_now_;
  Gauge* slots_;
  Gauge* used_;
  Gauge* bandwidth_;
  Gauge* costed_;
  ExpertFigures last_;  // at the last line
  TimeNs last_line_ = -1;
};

}  // namespace foregate
