#include "tools/bench/bench_result.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/api/check.h"

namespace foregate {

Spread spread_of(std::vector<double> values) {
  CHECK(!values.empty());
  std::sort(values.begin(), values.end());
  const auto count = static_cast<double>(values.size());
  const std::size_t middle = values.size() / 2;
  Spread spread;
  spread.median = values.size() % 2 == 1 ? values[middle] : 0.5 * (values[middle - 1] + values[middle]);
  spread.mean = std::accumulate(values.begin(), values.end(), 0.0) / count;
  double squares = 0.0;
  for (const double value : values) squares += (value - spread.mean) * (value - spread.mean);
  if (values.size() > 1) spread.deviation = std::sqrt(squares / (count - 1.0));
  return spread;
}

std::vector<double> tokens_per_second(const BenchLine& line) {
  std::vector<double> rates;
  for (const double seconds : line.samples_seconds) rates.push_back(static_cast<double>(line.test.tokens()) / seconds);
  return rates;
}

BenchLimit limit_of(const BenchLine& line, bool integer_products) {
  const double macs = integer_products ? line.limits.int8_macs_per_second : line.limits.f32_macs_per_second;
  const BenchLimit memory{line.limits.read_bytes_per_second / line.bytes_per_token, "memory"};
  const BenchLimit compute{macs / line.ops_per_token, integer_products ? "int8" : "f32"};
  const BenchLimit resident = compute.tokens_per_second < memory.tokens_per_second ? compute : memory;
  const double needed = line.experts ? expert_rates(line).needed_bytes : 0.0;
  if (needed <= 0.0 || line.limits.disk_bytes_per_second <= 0.0) return resident;
  const BenchLimit disk{line.limits.disk_bytes_per_second / needed, "disk"};
  return disk.tokens_per_second < resident.tokens_per_second ? disk : resident;
}

ExpertFigures figures_between(const ExpertFigures& earlier, const ExpertFigures& later) {
  ExpertFigures between = later;
  between.hits -= earlier.hits;
  between.misses -= earlier.misses;
  between.late -= earlier.late;
  between.evictions -= earlier.evictions;
  between.loads -= earlier.loads;
  between.loaded_bytes -= earlier.loaded_bytes;
  between.load_retries -= earlier.load_retries;
  between.load_failures -= earlier.load_failures;
  between.hints -= earlier.hints;
  between.hints_useful -= earlier.hints_useful;
  between.hints_wasted -= earlier.hints_wasted;
  between.policy.switches -= earlier.policy.switches;
  between.policy.shadow_uses -= earlier.policy.shadow_uses;
  for (std::size_t i = 0; i < kShadowPolicies.size(); ++i) {
    between.policy.shadow_hits[i] -= earlier.policy.shadow_hits[i];
  }
  between.hint_bytes = later.hint_bytes - earlier.hint_bytes;
  between.certain_bytes = later.certain_bytes - earlier.certain_bytes;
  between.certain -= earlier.certain;
  between.ahead -= earlier.ahead;
  between.ahead_useful -= earlier.ahead_useful;
  between.ahead_late -= earlier.ahead_late;
  between.ahead_wasted -= earlier.ahead_wasted;
  between.sweeps -= earlier.sweeps;
  between.repeated_loads -= earlier.repeated_loads;
  between.certain_right -= earlier.certain_right;
  between.certain_hints -= earlier.certain_hints;
  between.certain_useful -= earlier.certain_useful;
  between.certain_late -= earlier.certain_late;
  between.stall_seconds -= earlier.stall_seconds;
  between.read_seconds -= earlier.read_seconds;
  return between;
}

ExpertRates expert_rates(const BenchLine& line) {
  const ExpertFigures& experts = *line.experts;
  const auto needed = static_cast<double>(experts.hits + experts.misses);
  const auto bytes = static_cast<double>(experts.loaded_bytes);
  const auto wasted = static_cast<double>(experts.hint_bytes.wasted + experts.certain_bytes.wasted);
  ExpertRates rates;
  rates.hit_rate = needed > 0.0 ? static_cast<double>(experts.hits) / needed : 0.0;
  rates.bytes_per_token = bytes / line.tokens();
  const double seconds = std::accumulate(line.samples_seconds.begin(), line.samples_seconds.end(), 0.0);
  rates.read_share = experts.read_seconds / seconds;
  rates.stall_share = experts.stall_seconds / seconds;
  rates.needed_bytes = std::max(0.0, bytes - wasted) / line.tokens();
  return rates;
}

std::string bench_note(std::string_view shape_note, std::int64_t model_size) {
  std::string note(shape_note);
  if (model_size >= kCacheableBytes) return note;
  if (!note.empty()) note += "; ";
  return note + "the weights may stay in the caches, where the memory limit does not hold";
}

std::string test_name(const BenchTest& test) {
  std::string name;
  if (test.prompt_tokens > 0) name = "pp" + std::to_string(test.prompt_tokens);
  if (test.generated_tokens > 0) name += (name.empty() ? "tg" : "+tg") + std::to_string(test.generated_tokens);
  if (test.batch > 1) name += " x " + std::to_string(test.batch);
  if (test.depth > 0) name += " @ d" + std::to_string(test.depth);
  return name;
}

}  // namespace foregate
