// The command line of `foregate bench`, with the habits of llama-bench: lists by commas, -p and -n each a test of its
// own. Pure apart from the help and error texts that parsing prints.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tools/bench/bench_run.h"
#include "tools/bench/shape_options.h"

namespace foregate {

struct BenchOptions : ShapeChoice {  // its seed is that of the tokens too
  std::string model;                 // this or shape
  std::string quantization = "none";
  std::string isa = "auto";
  std::string dense_memory = "all";    // as choose_dense_memory() takes it
  bool prompt_read_ahead = true;       // as BootOptions has it
  bool expert_sweep = true;            // likewise
  std::string expert_memory = "all";   // as choose_expert_memory() takes it
  std::string expert_policy = "auto";  // as make_eviction_policy() takes it
  std::string lookahead = "auto";      // as BootOptions has it
  bool expert_warm = false;            // begin with what earlier runs used most, and remember this one
  std::vector<std::int32_t> prompts = {512};
  std::vector<std::int32_t> generated = {128};
  std::vector<std::int32_t> batches = {1};
  std::vector<std::int32_t> depths = {0};
  std::vector<std::int32_t> threads = {0};
  std::vector<std::int32_t> chunks = {512};
  std::vector<std::string> kv_types = {"auto"};
  std::int32_t repetitions = 5;
  bool warm_up = true;
  std::string format = "md";
};

// The exit status of a wrong or help-only command line, or -1 to go on. argv[0] is the subcommand's name.
int parse_bench_options(int argc, const char* const* argv, BenchOptions& options);

// Every combination, in the order that llama-bench takes: prompts before generation, each 0 leaving its test out. A
// cache type that is left to the model is `auto_kv_type`.
std::vector<BenchTest> bench_tests(const BenchOptions& options, DType auto_kv_type);

// The most positions that the sequences of a test have together.
std::int64_t most_positions(const BenchOptions& options);

// The most rows of a step that any test takes.
std::int32_t most_rows(const BenchOptions& options);

}  // namespace foregate
