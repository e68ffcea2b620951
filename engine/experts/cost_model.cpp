#include "engine/experts/cost_model.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "engine/experts/cost_file.h"

namespace foregate {
namespace {

constexpr double kForgetSeconds = 5.0;  // of reading, after which an observation counts a third
constexpr double kMostFactor = 64.0;    // a disk is not that much faster or slower than it was

Status wrong(const std::string& what) {
  return invalid_argument(what, "cost model");
}

bool positive(double value) {
  return std::isfinite(value) && value > 0;
}

bool positive_or_none(double value) {
  return value == 0 || positive(value);
}

Status check_reads(std::span<const ReadCost> reads) {
  if (reads.empty() || reads.size() > kMaxReadCosts) return wrong(std::to_string(reads.size()) + " kinds of reads");
  std::size_t depths = 0;
  while (depths < reads.size() && reads[depths].bytes == reads[0].bytes) ++depths;
  for (std::size_t i = 0; i < reads.size(); ++i) {
    const ReadCost& read = reads[i];
    if (read.bytes == 0 || read.depth == 0) return wrong("a read of nothing");
    if (!positive(read.bytes_per_second) || !positive(read.latency_seconds)) return wrong("a time of a read");
    const std::size_t column = i % depths;
    const bool ordered = column == 0 ? i == 0 || read.bytes > reads[i - 1].bytes
                                     : read.bytes == reads[i - 1].bytes && read.depth > reads[i - 1].depth;
    if (!ordered || read.depth != reads[column].depth) return wrong("reads that are not a table");
  }
  return reads.size() % depths == 0 ? Status() : wrong("reads that are not a table");
}

Status check_kernel(const KernelCost& kernel) {
  if (kernel.format.size() > kMaxCostText) return wrong("a long name of a format");
  if (kernel.expert_bytes == 0 || kernel.points.empty() || kernel.points.size() > kMaxKernelPoints) {
    return wrong("a kernel of " + std::to_string(kernel.points.size()) + " points");
  }
  std::int32_t rows = 0;
  for (const KernelPoint& point : kernel.points) {
    if (point.rows <= rows || !positive(point.seconds)) return wrong("a time of a kernel");
    rows = point.rows;
  }
  return {};
}

// Where `value` lies among ascending values, in their logarithms: the lower one's place and the part of the way.
struct Between {
  std::size_t low = 0;
  double part = 0.0;
};

template <class At>
Between between(double value, std::size_t count, const At& at) {
  if (value <= at(0)) return {0, 0.0};
  for (std::size_t i = 1; i < count; ++i) {
    if (value < at(i)) return {i - 1, std::log(value / at(i - 1)) / std::log(at(i) / at(i - 1))};
  }
  return {count - 1, 0.0};
}

double seconds_at(std::span<const KernelPoint> points, double rows) {
  if (points.size() == 1 || rows <= points.front().rows) return points.front().seconds;
  std::size_t high = 1;
  while (high + 1 < points.size() && points[high].rows < rows) ++high;
  const KernelPoint& a = points[high - 1];
  const KernelPoint& b = points[high];
  const double slope = std::max(0.0, (b.seconds - a.seconds) / (b.rows - a.rows));
  return a.seconds + slope * (rows - a.rows);
}

}  // namespace

Status CostModel::check() const {
  if (chunk_bytes == 0 || depth == 0) return wrong("loads without reads");
  RETURN_IF_ERROR(check_reads(reads));
  if (!positive(memory_bytes_per_second)) return wrong("the bandwidth of memory");
  for (const double value :
       {memory_bytes_per_second_reading, reading_bytes_per_second, observed_factor, observed_bytes_per_second}) {
    if (!positive_or_none(value)) return wrong("a bandwidth");
  }
  if (kernels.size() > kMaxKernelCosts) return wrong(std::to_string(kernels.size()) + " kernels");
  for (const KernelCost& kernel : kernels) RETURN_IF_ERROR(check_kernel(kernel));
  return {};
}

double CostModel::table_bytes_per_second(double bytes, double in_flight) const {
  if (reads.empty()) return 0.0;
  std::size_t depths = 0;
  while (depths < reads.size() && reads[depths].bytes == reads[0].bytes) ++depths;
  const std::size_t sizes = reads.size() / depths;
  const Between size =
      between(bytes, sizes, [&](std::size_t i) { return static_cast<double>(reads[i * depths].bytes); });
  const Between deep = between(in_flight, depths, [&](std::size_t i) { return static_cast<double>(reads[i].depth); });
  const auto at = [&](std::size_t s, std::size_t d) {
    return reads[std::min(s, sizes - 1) * depths + std::min(d, depths - 1)].bytes_per_second;
  };
  const auto of_size = [&](std::size_t s) {
    return at(s, deep.low) + deep.part * (at(s, deep.low + 1) - at(s, deep.low));
  };
  const double rate = of_size(size.low) + size.part * (of_size(size.low + 1) - of_size(size.low));
  return rate * std::min(1.0, bytes / static_cast<double>(reads[0].bytes));
}

double CostModel::depth_of(double experts, std::uint64_t expert_bytes) const {
  const std::uint64_t chunks = std::max<std::uint64_t>(1, (expert_bytes + chunk_bytes - 1) / chunk_bytes);
  return std::clamp(std::max(1.0, experts) * static_cast<double>(chunks), 1.0, static_cast<double>(depth));
}

double CostModel::load_bytes_per_second(double experts, std::uint64_t expert_bytes) const {
  const auto read = static_cast<double>(std::min(expert_bytes, chunk_bytes));
  const double rate = table_bytes_per_second(read, depth_of(experts, expert_bytes));
  return observed_factor > 0 ? rate / observed_factor : rate;
}

double CostModel::load_seconds(double experts, std::uint64_t expert_bytes) const {
  const double rate = load_bytes_per_second(experts, expert_bytes);
  return rate > 0 ? experts * static_cast<double>(expert_bytes) / rate : 0.0;
}

double CostModel::kernel_seconds(double experts, std::uint64_t expert_bytes, double rows) const {
  if (kernels.empty() || expert_bytes == 0) return 0.0;
  const auto far = [&](const KernelCost& kernel) {
    return std::abs(std::log(static_cast<double>(kernel.expert_bytes) / static_cast<double>(expert_bytes)));
  };
  const auto nearest = std::min_element(kernels.begin(), kernels.end(),
                                        [&](const KernelCost& a, const KernelCost& b) { return far(a) < far(b); });
  return experts * seconds_at(nearest->points, rows);
}

void CostModel::observe(std::uint64_t bytes, double seconds, double read_bytes, double in_flight) {
  if (bytes == 0 || !positive(seconds)) return;
  const double rate = static_cast<double>(bytes) / seconds;
  const double expected = table_bytes_per_second(read_bytes, in_flight);
  if (!positive(expected) || !positive(rate)) return;
  const double factor = std::clamp(expected / rate, 1 / kMostFactor, kMostFactor);
  const auto weight = [](double of_seconds) { return 1 - std::exp(-of_seconds / kForgetSeconds); };
  // A table that was just measured counts as one observation that agrees with it.
  if (observed_factor == 0) observed_factor = 1.0;
  if (observed_bytes_per_second == 0) observed_bytes_per_second = rate;
  // The factor weighs by what was expected, the bandwidth by what it took: so both are of sums, however uneven the
  // loads.
  observed_factor += weight(static_cast<double>(bytes) / expected) * (factor - observed_factor);
  observed_bytes_per_second += weight(seconds) * (rate - observed_bytes_per_second);
}

CostModel cost_of_bandwidth(double bytes_per_second) {
  CostModel costs;
  costs.reads.push_back({.bytes = 1, .depth = 1, .bytes_per_second = bytes_per_second, .latency_seconds = 1e-6});
  return costs;
}

double DecodeEstimate::tokens_per_second() const {
  const double seconds = std::max(compute_seconds, read_seconds);
  return seconds > 0 ? 1 / seconds : 0.0;
}

DecodeEstimate estimate_decode(const CostModel& costs, const DecodeWork& work, double hit_rate) {
  DecodeEstimate estimate;
  if (costs.memory_bytes_per_second > 0) {
    estimate.compute_seconds = static_cast<double>(work.dense_bytes) / costs.memory_bytes_per_second;
  }
  const double missed = work.top_k * std::clamp(1 - hit_rate, 0.0, 1.0);
  for (const std::uint64_t bytes : work.expert_bytes) {
    estimate.compute_seconds += costs.kernel_seconds(work.top_k, bytes, 1);
    estimate.missed_bytes += missed * static_cast<double>(bytes);
    estimate.read_seconds += costs.load_seconds(missed, bytes);
  }
  return estimate;
}

}  // namespace foregate
