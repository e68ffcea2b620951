// Copies of KV blocks to host memory and back under vLLM's names of its offloading: what preemption by
// --preemption-mode swap or auto moves. Engine thread only; the registry is thread-safe.
#pragma once

#include <cstdint>
#include <string>

#include "engine/base/metrics.h"

namespace foregate {

class SwapReport {
 public:
  // Without a registry nothing is reported.
  SwapReport(Metrics* registry, const std::string& model_name);
  void stored(std::int64_t bytes, double seconds);
  void loaded(std::int64_t bytes, double seconds);
  void no_room();  // host memory had none for a copy
  void skipped();  // computing again was expected to cost less
  void used(std::int64_t bytes, std::int64_t space);

 private:
  struct Way {
    Counter* bytes = nullptr;
    Counter* seconds = nullptr;
    Histogram* size = nullptr;
    Counter* total_bytes = nullptr;
    Counter* total_seconds = nullptr;
  };
  static Way way(Metrics& metrics, const Labels& labels, const std::string& name, const char* type);
  static void note(Way& way, std::int64_t bytes, double seconds);
  Way store_;
  Way load_;
  Counter* no_room_ = nullptr;
  Counter* skipped_ = nullptr;
  Gauge* used_ = nullptr;
};

}  // namespace foregate
