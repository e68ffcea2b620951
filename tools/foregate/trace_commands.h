// The three halves of `foregate trace`, one file each. Each adds its options to an app of its own and runs with them;
// the status says what went wrong, kInvalidArgument for wrong options.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/experts/cost_model.h"
#include "engine/experts/replay.h"
#include "engine/experts/trace_reader.h"

namespace foregate {

struct RecordOptions {
  std::string model;
  std::string out;
  std::string prompts;  // file, a prompt a line
  std::string prompt = "Once upon a time";
  std::int32_t tokens = 128;
  std::int32_t parallel = 1;
  std::int32_t chunk = 512;
  std::string expert_memory = "all";
  std::string expert_policy = "auto";
  bool cold = false;
  std::string lookahead = "off";
  std::string quantization = "none";
  double temperature = -1.0;
  std::int64_t seed = 0;
  std::int32_t threads = 0;
  std::string isa = "auto";
};
void add_record_options(CLI::App& app, RecordOptions& options);
Status run_record(const RecordOptions& options);

struct ReplayArguments {
  std::string trace;
  std::vector<std::string> policies = {"lru", "lfu", "score", "belady"};
  std::vector<std::string> budgets = {"25%", "50%", "75%"};
  std::string start = "trace";
  std::string model;            // whose costs estimate stalls
  std::uint64_t bandwidth = 0;  // bytes/s instead; 0: none
  std::string format = "md";
};
void add_replay_options(CLI::App& app, ReplayArguments& arguments);
Status run_replay(const ReplayArguments& arguments);

struct ShowArguments {
  std::string trace;
  std::string format = "md";
};
void add_show_options(CLI::App& app, ShowArguments& arguments);
Status run_show(const ShowArguments& arguments);

// A trace file that is open and what its header says.
struct OpenTrace {
  std::unique_ptr<File> file;
  TraceInfo info;
};
Result<OpenTrace> open_trace(const std::string& path);
// Calls `each` with every step, from the first.
Status each_step(const OpenTrace& trace, const std::function<void(const TraceStep&)>& each);

// Bytes of a budget: a share of all experts (40%), bytes (4GiB), or slots (64slots).
Result<std::uint64_t> budget_named(const std::string& word, const ExpertSizes& sizes);

}  // namespace foregate
