// What a run of the load generator measured, under the names that `vllm bench serve` gives. Pure.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "tools/load/load_types.h"

namespace foregate {

// A request is good when it keeps all bounds that are set; milliseconds.
struct ServiceLevel {
  std::optional<double> ttft{}, tpot{}, e2el{};
  bool empty() const { return !ttft && !tpot && !e2el; }
};

struct LoadRun {
  double rate = 0;  // requests a second; 0: all at once, or as a trace says
  int concurrency = 0;
  double duration = 0;  // seconds, from the first request to the end of the last
  std::vector<LoadOutcome> outcomes{};
};

struct ReportOptions {
  ServiceLevel level{};
  std::vector<std::string> metrics = {"ttft", "tpot", "itl", "e2el"};
  std::vector<double> percentiles = {90, 95, 99};
  bool detailed = false;  // with the figures of every request
};

// Of sorted values, linear between neighbours as numpy has it; 0 of none.
double percentile(const std::vector<double>& sorted, double percent);
std::string percentile_name(double percent);  // "p99", "p99.9"

nlohmann::ordered_json load_report(const LoadRun& run, const ReportOptions& options);

// Latency against rate as an SVG: median and highest percentile of time to first token and of time per output token.
std::string load_plot(const std::vector<nlohmann::ordered_json>& reports);

}  // namespace foregate
