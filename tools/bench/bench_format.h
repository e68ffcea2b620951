// How the lines of `foregate bench` are written: md for people, json, jsonl and csv for programs. Pure: text in, text
// out; the command prints what it gets.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "tools/bench/bench_result.h"

namespace foregate {

class BenchFormat {
 public:
  virtual ~BenchFormat() = default;
  virtual std::string begin(const BenchModelFacts& model) = 0;  // before the lines of a model; may come again
  virtual std::string line(const BenchModelFacts& model, const BenchLine& line) = 0;
  virtual std::string end() = 0;
};

// "md", "json", "jsonl" or "csv"; null for another word.
std::unique_ptr<BenchFormat> make_bench_format(std::string_view word);

// The commit this program was built from, short; "unknown" outside a git tree.
const char* build_commit();

}  // namespace foregate
