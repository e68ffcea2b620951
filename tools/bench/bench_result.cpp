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
  return compute.tokens_per_second < memory.tokens_per_second ? compute : memory;
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
