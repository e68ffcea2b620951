// One line of `foregate bench`: what ran, how long each repetition took, and what the machine would allow. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/api/engine.h"
#include "tools/bench/bench_run.h"
#include "tools/bench/machine_limits.h"

namespace foregate {

// The same for every line of a run. Field names are llama-bench's where it has the figure.
struct BenchModelFacts {
  std::string model_filename;   // path, or "shape:NAME"
  std::string model_type;       // architecture, size and main format, e.g. "olmoe 6.92 B q4_0"
  std::int64_t model_size = 0;  // bytes of packed weights
  std::int64_t model_n_params = 0;
  std::string isa;
  int threads = 1;
  bool integer_products = false;  // the main format is computed in int8
  double load_seconds = 0.0;
  std::int64_t huge_page_bytes = 0;  // of the process, once the weights were loaded
  std::string note;                  // what the figures do not stand for; may be empty
  // Of a model whose experts are not all in memory; empty else.
  std::string expert_memory;  // as asked for
  std::string expert_policy;
  std::string lookahead;
  std::string experts;             // BootReport::experts
  std::int64_t resident_size = 0;  // of model_size: what memory holds or has slots for
};

// What the tokens of a test needed, over the repetitions.
struct BenchLine {
  BenchTest test;
  std::string test_time;  // UTC, ISO 8601
  std::vector<double> samples_seconds;
  double bytes_per_token = 0.0;  // weights, keys and values read
  double ops_per_token = 0.0;    // multiply-adds with weights
  MachineLimits limits;          // measured just before
  std::int64_t peak_rss_bytes = 0;
  std::optional<ExpertFigures> experts;  // what the store did in the repetitions; none: all experts are in memory

  double tokens() const { return static_cast<double>(test.tokens()) * static_cast<double>(samples_seconds.size()); }
};

struct Spread {
  double mean = 0.0;
  double deviation = 0.0;  // of a sample: n - 1; 0 for one value
  double median = 0.0;
};
Spread spread_of(std::vector<double> values);  // of at least one value

// Tokens per second of each repetition, all sequences together.
std::vector<double> tokens_per_second(const BenchLine& line);

// What `later` counted since `earlier`; slots are those of `later`.
ExpertFigures figures_between(const ExpertFigures& earlier, const ExpertFigures& later);

struct ExpertRates {
  double hit_rate = 0.0;         // of the experts that layers needed
  double bytes_per_token = 0.0;  // read from disk
  double read_share = 0.0;       // of the time: reads were in flight
  double stall_share = 0.0;      // of the time
  double needed_bytes = 0.0;     // per token: of those read, without hints that nothing used
};
ExpertRates expert_rates(const BenchLine& line);  // of a line with experts

// The tokens per second that memory, arithmetic or the disk allows, whichever allows least.
struct BenchLimit {
  double tokens_per_second = 0.0;
  const char* by = "memory";  // memory | int8 | f32 | disk
};
BenchLimit limit_of(const BenchLine& line, bool integer_products);

// What memory gives is no limit for weights that stay in the caches: said of models smaller than this.
inline constexpr std::int64_t kCacheableBytes = std::int64_t{512} << 20;
// What the figures of a model do not stand for, as one text: `shape_note`, and that its weights fit the caches.
std::string bench_note(std::string_view shape_note, std::int64_t model_size);

// "pp512", "tg128 @ d1024", with " x 8" for eight sequences.
std::string test_name(const BenchTest& test);

}  // namespace foregate
