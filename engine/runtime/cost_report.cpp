#include "engine/runtime/cost_report.h"

#include <cstdio>

#include "engine/base/log.h"

namespace foregate {

std::string costs_text(const CostModel& costs) {
  ReadCost large = costs.reads.back();  // as the store reads
  for (const ReadCost& read : costs.reads) {
    if (read.bytes == large.bytes && read.depth == costs.depth) large = read;
  }
  char text[320];
  std::snprintf(text, sizeof text,
                "reads of %.0f KiB %.0f MB/s at depth %u, one takes %.2f ms; memory %.1f GB/s (%.1f beside reads)",
                static_cast<double>(large.bytes) / 1024, large.bytes_per_second * 1e-6, large.depth,
                large.latency_seconds * 1e3, costs.memory_bytes_per_second * 1e-9,
                costs.memory_bytes_per_second_reading * 1e-9);
  std::string line = text;
  for (const KernelCost& kernel : costs.kernels) {
    std::snprintf(text, sizeof text, "; an expert of %.2f MB (%s) %.0f us at 1 row, %.0f us at %d",
                  static_cast<double>(kernel.expert_bytes) * 1e-6, kernel.format.c_str(),
                  kernel.points.front().seconds * 1e6, kernel.points.back().seconds * 1e6, kernel.points.back().rows);
    line += text;
  }
  return line;
}

void report_costs(const CostModel& costs, bool measured, const std::string& model_name, Metrics* registry) {
  log_info(std::string(measured ? "measured costs: " : "costs of an earlier start: ") + costs_text(costs));
  if (registry == nullptr) return;
  const Labels labels = {{"model_name", model_name}};
  const auto with = [&labels](Labels more) {
    more.insert(labels.begin(), labels.end());
    return more;
  };
  registry->gauge("moe_calibrated_at_start", "1: the costs were measured at this start, 0: at an earlier one", labels)
      .set(measured ? 1 : 0);
  for (const ReadCost& read : costs.reads) {
    registry
        ->gauge("moe_calibrated_read_bytes_per_second",
                "Reads of experts' files, by bytes of a read and reads in flight",
                with({{"bytes", std::to_string(read.bytes)}, {"depth", std::to_string(read.depth)}}))
        .set(read.bytes_per_second);
  }
  const char* memory = "moe_calibrated_memory_bytes_per_second";
  const char* help = "Memory as all threads read it, alone and beside reads of experts";
  registry->gauge(memory, help, with({{"beside", "nothing"}})).set(costs.memory_bytes_per_second);
  registry->gauge(memory, help, with({{"beside", "reads"}})).set(costs.memory_bytes_per_second_reading);
  for (const KernelCost& kernel : costs.kernels) {
    for (const KernelPoint& point : kernel.points) {
      registry
          ->gauge("moe_calibrated_kernel_seconds", "One expert, by its format and rows",
                  with({{"format", kernel.format},
                        {"expert_bytes", std::to_string(kernel.expert_bytes)},
                        {"rows", std::to_string(point.rows)}}))
          .set(point.seconds);
    }
  }
}

}  // namespace foregate
