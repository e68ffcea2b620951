#include "engine/model/cost_calibration.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <numeric>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "engine/experts/read_probe.h"

namespace foregate {
namespace {

constexpr std::uint64_t kReadSizes[] = {std::uint64_t{64} << 10, std::uint64_t{256} << 10, std::uint64_t{1} << 20};
constexpr std::int32_t kRows[] = {1, 2, 4, 8, 16, 32, 64};
constexpr std::int64_t kMatrixCols = 1024;
constexpr double kSlowestDisk = 100e6;   // bytes/s that bound the time of reading a small model
constexpr double kPointSeconds = 0.006;  // of one figure of computation, three runs at least
constexpr std::size_t kMostRuns = 64;

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Median seconds of a run; the first, which finds cold caches and pages, does not count.
double median_seconds(double budget, const std::function<void(std::size_t)>& run) {
  std::vector<double> seconds;
  const Clock::time_point start = Clock::now();
  for (std::size_t i = 0; i < kMostRuns; ++i) {
    const Clock::time_point begin = Clock::now();
    run(i);
    if (i > 0) seconds.push_back(std::max(seconds_since(begin), 1e-9));
    if (seconds.size() >= 3 && seconds_since(start) > budget) break;
  }
  std::sort(seconds.begin(), seconds.end());
  return seconds[seconds.size() / 2];
}

struct Scratch {
  Memory memory;
  std::span<std::byte> pages;  // from a page on
};

Result<Scratch> take_pages(Device& device, std::uint64_t bytes) {
  Scratch scratch{.memory = device.allocate(bytes + kDirectPage), .pages = {}};
  if (!scratch.memory) return resource_exhausted("no memory for " + std::to_string(bytes) + " bytes to calibrate with");
  const auto begin = reinterpret_cast<std::uintptr_t>(scratch.memory.data());
  scratch.pages = {scratch.memory.data() + (kDirectPage - begin % kDirectPage) % kDirectPage, bytes};
  std::fill(scratch.pages.begin(), scratch.pages.end(), std::byte{0});  // the pages are there before a clock runs
  return scratch;
}

class Calibration {
 public:
  Calibration(const ExpertTable& table, Device& device, const OpTable& ops, Stream& stream,
              const CalibrationOptions& options)
      : table_(table), device_(device), ops_(ops), stream_(stream), options_(options) {
    for (const ExpertExtent& extent : table.extents) largest_ = std::max(largest_, extent.bytes);
    costs_.chunk_bytes = options.chunk_bytes;
    costs_.depth = options.depth;
  }
  Result<CostModel> run();

 private:
  std::vector<std::uint64_t> sizes() const;
  std::vector<std::uint32_t> depths() const;
  Status measure_disk();
  Status measure_memory();
  Status measure_kernels();
  void measure_kernel(const ExpertExtent& extent);
  Status take_rows(std::int64_t hidden, std::int64_t inner);

  const ExpertTable& table_;
  Device& device_;
  const OpTable& ops_;
  Stream& stream_;
  const CalibrationOptions& options_;
  std::uint64_t largest_ = 0;
  Scratch weights_;
  Scratch buffers_;  // of reads
  Memory rows_;
  std::vector<std::int32_t> row_numbers_;
  CostModel costs_;
};

std::vector<std::uint64_t> Calibration::sizes() const {
  const std::uint64_t most = std::min(options_.chunk_bytes, largest_);
  std::vector<std::uint64_t> sizes;
  for (const std::uint64_t bytes : kReadSizes) {
    if (bytes < most) sizes.push_back(bytes);
  }
  sizes.push_back(most);
  return sizes;
}

// The store's own, and others for who wants to choose another.
std::vector<std::uint32_t> Calibration::depths() const {
  std::set<std::uint32_t> depths = {1, 2, 4, 8, options_.depth};
  return {depths.begin(), depths.end()};
}

Status Calibration::measure_disk() {
  const double all = static_cast<double>(table_.bytes()) / kSlowestDisk;
  const auto points = static_cast<double>(sizes().size() * depths().size());
  const double seconds = std::min(options_.read_seconds, all) / points;
  for (const std::uint64_t bytes : sizes()) {
    for (const std::uint32_t depth : depths()) {
      const ReadProbe probe{.read_bytes = bytes, .depth = depth, .seconds = seconds, .seed = costs_.reads.size()};
      ASSIGN_OR_RETURN(const ReadRate rate, measure_reads(table_, probe, buffers_.pages));
      costs_.reads.push_back({bytes, depth, rate.bytes_per_second, std::max(rate.latency_seconds, 1e-9)});
    }
  }
  return {};
}

// One row through an f32 matrix: four bytes read for each product, so memory is what it waits for.
Status Calibration::measure_memory() {
  const auto rows =
      static_cast<std::int64_t>(weights_.pages.size()) / (kMatrixCols * 4) / kRowInterleave * kRowInterleave;
  if (rows == 0) return resource_exhausted("too little memory to calibrate with");
  const Memory vectors = device_.allocate(static_cast<std::size_t>(kMatrixCols + rows) * sizeof(float));
  if (!vectors) return resource_exhausted("no memory to calibrate with");
  float* x = reinterpret_cast<float*>(vectors.data());
  const LinearArgs args{.weight = {weights_.pages.data(), WeightFormat::kF32, rows, kMatrixCols},
                        .bias = nullptr,
                        .x = {x, 1, kMatrixCols, kMatrixCols},
                        .y = {x + kMatrixCols, 1, rows, rows}};
  const auto measure = [&] {
    const double seconds = median_seconds(5 * kPointSeconds, [&](std::size_t) {
      ops_.linear(stream_, args);
      stream_.synchronize();
    });
    return static_cast<double>(rows * kMatrixCols * 4) / seconds;
  };
  costs_.memory_bytes_per_second = measure();
  std::atomic<bool> stop{false};
  std::optional<Result<ReadRate>> rate;
  std::thread reader([&] {
    const ReadProbe probe{
        .read_bytes = sizes().back(), .depth = options_.depth, .seconds = 10.0, .seed = 1, .stop = &stop};
    rate = measure_reads(table_, probe, buffers_.pages);
  });
  costs_.memory_bytes_per_second_reading = measure();
  stop = true;
  reader.join();
  if (!rate->ok()) return rate->status();
  costs_.reading_bytes_per_second = (*rate)->bytes_per_second;
  return {};
}

Status Calibration::take_rows(std::int64_t hidden, std::int64_t inner) {
  const std::int64_t most = kRows[std::size(kRows) - 1];
  rows_ = device_.allocate(static_cast<std::size_t>(most * (2 * hidden + inner)) * sizeof(float));
  if (!rows_) return resource_exhausted("no memory to calibrate with");
  float* x = reinterpret_cast<float*>(rows_.data());
  for (std::int64_t i = 0; i < most * hidden; ++i) x[i] = static_cast<float>(i % 61 - 30) / 32;
  row_numbers_.resize(static_cast<std::size_t>(most));
  std::iota(row_numbers_.begin(), row_numbers_.end(), 0);
  return {};
}

// Copies of an expert take turns, so that each finds its weights in memory, not in a cache, where the scratch is large
// enough. What the weights are does not matter.
void Calibration::measure_kernel(const ExpertExtent& extent) {
  const std::int64_t hidden = extent.shape.gate.cols;
  const std::size_t copies = weights_.pages.size() / extent.bytes;
  float* x = reinterpret_cast<float*>(rows_.data());
  float* y = x + kRows[std::size(kRows) - 1] * hidden;
  float* scratch = y + kRows[std::size(kRows) - 1] * hidden;
  std::size_t turn = 0;
  KernelCost& kernel = costs_.kernels.emplace_back();
  kernel.format = format_name(extent.shape.gate.format);
  const std::string down = format_name(extent.shape.down.format);
  if (down != kernel.format) kernel.format += "+" + down;
  kernel.expert_bytes = extent.bytes;
  for (const std::int32_t rows : kRows) {
    const double seconds = median_seconds(kPointSeconds, [&](std::size_t) {
      const std::byte* at = weights_.pages.data() + (turn++ % copies) * extent.bytes;
      const ExpertGroup group{
          .weights = extent.at(at), .x_rows = row_numbers_.data(), .out_rows = row_numbers_.data(), .rows = rows};
      ops_.expert_ffn(stream_, ExpertFfnArgs{.x = {x, rows, hidden, hidden},
                                             .y = {y, rows, hidden, hidden},
                                             .groups = &group,
                                             .num_groups = 1,
                                             .activation = options_.activation,
                                             .scratch = scratch});
      stream_.synchronize();
    });
    kernel.points.push_back({rows, seconds});
  }
}

Status Calibration::measure_kernels() {
  for (const ExpertExtent& extent : table_.extents) {
    const auto known = [&](const KernelCost& kernel) { return kernel.expert_bytes == extent.bytes; };
    if (std::any_of(costs_.kernels.begin(), costs_.kernels.end(), known)) continue;
    RETURN_IF_ERROR(take_rows(extent.shape.gate.cols, extent.shape.gate.rows));
    measure_kernel(extent);
    if (costs_.kernels.size() == 8) break;  // sizes beyond that are not told apart
  }
  return {};
}

Result<CostModel> Calibration::run() {
  const std::uint64_t buffer = sizes().back() * depths().back();
  ASSIGN_OR_RETURN(buffers_, take_pages(device_, buffer));
  RETURN_IF_ERROR(measure_disk());
  const std::uint64_t least = std::max<std::uint64_t>(largest_, kMatrixCols * 4 * kRowInterleave);
  ASSIGN_OR_RETURN(weights_, take_pages(device_, std::max(options_.scratch_bytes, least)));
  RETURN_IF_ERROR(measure_memory());
  RETURN_IF_ERROR(measure_kernels());
  RETURN_IF_ERROR(costs_.check());
  return std::move(costs_);
}

}  // namespace

Result<CostModel> calibrate_costs(const ExpertTable& table, Device& device, const OpTable& ops, Stream& stream,
                                  const CalibrationOptions& options) {
  if (table.extents.empty() || table.extents[0].file == nullptr) {
    return invalid_argument("only experts in files of their own can be calibrated", "cost model");
  }
  return Calibration(table, device, ops, stream, options).run();
}

}  // namespace foregate
