#include "tools/load/load_result.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <numeric>

namespace foregate {
namespace {

using Json = nlohmann::ordered_json;

struct Times {
  std::vector<double> ttft, tpot, itl, e2el;
  std::vector<double>& of(const std::string& metric) {
    return metric == "ttft" ? ttft : metric == "tpot" ? tpot : metric == "itl" ? itl : e2el;
  }
};

double tpot(const LoadOutcome& one) {
  return one.output_tokens > 1 ? (one.end - one.first_token) / (one.output_tokens - 1) : 0;
}

bool good(const LoadOutcome& one, const ServiceLevel& level) {
  const auto holds = [](const std::optional<double>& bound, double seconds) {
    return !bound || seconds * 1000 <= *bound;
  };
  return one.ok && holds(level.ttft, one.first_token) && holds(level.tpot, tpot(one)) && holds(level.e2el, one.end);
}

// mean, median, standard deviation and percentiles in milliseconds, as mean_ttft_ms and so on.
void add_times(Json& report, const std::string& name, std::vector<double>& seconds,
               const std::vector<double>& percentiles) {
  std::sort(seconds.begin(), seconds.end());
  const double count = static_cast<double>(std::max<std::size_t>(seconds.size(), 1));
  const double mean = std::accumulate(seconds.begin(), seconds.end(), 0.0) / count;
  double square = 0;
  for (const double value : seconds) square += (value - mean) * (value - mean);
  report["mean_" + name + "_ms"] = mean * 1000;
  report["median_" + name + "_ms"] = percentile(seconds, 50) * 1000;
  report["std_" + name + "_ms"] = std::sqrt(square / count) * 1000;
  for (const double p : percentiles) {
    report[percentile_name(p) + "_" + name + "_ms"] = percentile(seconds, p) * 1000;
  }
}

// The most that lay in one of the seconds of the run.
double most_tokens_in_a_second(const LoadRun& run) {
  std::vector<double> seconds(static_cast<std::size_t>(std::max(run.duration, 0.0)) + 1);
  for (const LoadOutcome& one : run.outcomes) {
    if (!one.ok) continue;
    // A piece may be more than one token: each stands for its share of what the server counted.
    const double each = one.output_tokens / (static_cast<double>(one.gaps.size()) + 1);
    double at = one.sent_at + one.first_token;
    for (std::size_t i = 0; i <= one.gaps.size(); ++i) {
      seconds[std::min(static_cast<std::size_t>(at), seconds.size() - 1)] += each;
      if (i < one.gaps.size()) at += one.gaps[i];
    }
  }
  return *std::max_element(seconds.begin(), seconds.end());
}

std::int64_t most_at_a_time(const LoadRun& run) {
  std::vector<std::pair<double, int>> changes;
  for (const LoadOutcome& one : run.outcomes) {
    if (!one.ok) continue;
    changes.emplace_back(one.sent_at, 1);
    changes.emplace_back(one.sent_at + one.end, -1);
  }
  std::sort(changes.begin(), changes.end());
  std::int64_t now = 0, most = 0;
  for (const auto& change : changes) most = std::max(most, now += change.second);
  return most;
}

void add_details(Json& report, const LoadRun& run) {
  for (const char* name : {"start_times", "input_lens", "output_lens", "ttfts", "itls", "e2els", "errors"}) {
    report[name] = Json::array();
  }
  for (const LoadOutcome& one : run.outcomes) {
    report["start_times"].push_back(one.sent_at);
    report["input_lens"].push_back(one.input_tokens);
    report["output_lens"].push_back(one.output_tokens);
    report["ttfts"].push_back(one.first_token);
    report["itls"].push_back(one.gaps);
    report["e2els"].push_back(one.end);
    report["errors"].push_back(one.error);
  }
}

struct Sums {
  std::int64_t completed = 0, good = 0, input = 0, output = 0;
  Times times;
  Json errors = Json::object();
};

Sums sums_of(const LoadRun& run, const ServiceLevel& level) {
  Sums sums;
  for (const LoadOutcome& one : run.outcomes) {
    if (!one.ok) {
      sums.errors[one.error] = sums.errors.value(one.error, 0) + 1;
      continue;
    }
    ++sums.completed;
    sums.good += good(one, level) ? 1 : 0;
    sums.input += one.input_tokens;
    sums.output += one.output_tokens;
    sums.times.ttft.push_back(one.first_token);
    sums.times.e2el.push_back(one.end);
    sums.times.itl.insert(sums.times.itl.end(), one.gaps.begin(), one.gaps.end());
    if (one.output_tokens > 1) sums.times.tpot.push_back(tpot(one));
  }
  return sums;
}

}  // namespace

double percentile(const std::vector<double>& sorted, double percent) {
  if (sorted.empty()) return 0;
  const double at = percent / 100 * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<std::size_t>(at);
  const std::size_t high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (at - static_cast<double>(low)) * (sorted[high] - sorted[low]);
}

std::string percentile_name(double percent) {
  char text[32];
  std::snprintf(text, sizeof text, "p%g", percent);
  return text;
}

Json load_report(const LoadRun& run, const ReportOptions& options) {
  Sums sums = sums_of(run, options.level);
  const auto per_second = [&run](std::int64_t what) {
    return run.duration > 0 ? static_cast<double>(what) / run.duration : 0;
  };
  Json report;
  report["request_rate"] = run.rate > 0 ? Json(run.rate) : Json("inf");
  report["max_concurrency"] = run.concurrency > 0 ? Json(run.concurrency) : Json();
  report["num_prompts"] = run.outcomes.size();
  report["duration"] = run.duration;
  report["completed"] = sums.completed;
  report["failed"] = static_cast<std::int64_t>(run.outcomes.size()) - sums.completed;
  report["total_input_tokens"] = sums.input;
  report["total_output_tokens"] = sums.output;
  report["request_throughput"] = per_second(sums.completed);
  report["request_goodput"] = options.level.empty() ? Json() : Json(per_second(sums.good));
  report["output_throughput"] = per_second(sums.output);
  report["total_token_throughput"] = per_second(sums.input + sums.output);
  report["max_output_tokens_per_s"] = most_tokens_in_a_second(run);
  report["max_concurrent_requests"] = most_at_a_time(run);
  for (const std::string& metric : options.metrics) {
    add_times(report, metric, sums.times.of(metric), options.percentiles);
  }
  report["error_counts"] = std::move(sums.errors);
  if (options.detailed) add_details(report, run);
  return report;
}

}  // namespace foregate
