// The flags of `foregate bench serve`, named as those of `vllm bench serve` where it has them, and what they ask for.
#pragma once

#include <string>
#include <vector>

#include "tools/load/load_dataset.h"
#include "tools/load/load_result.h"
#include "tools/load/stream_request.h"

namespace foregate {

struct BenchServeOptions {
  std::string dataset = "random";
  std::string dataset_path;
  DatasetOptions data;
  LoadTarget target;
  std::vector<double> rates;  // requests a second; 0: all at once, or as the trace says
  double burstiness = 1;
  int concurrency = 0;
  int warmups = 0;
  double ready_seconds = 0;  // how long the first answer is waited for; 0: it is not
  ReportOptions report;
  bool progress = true;
  bool save_result = false;
  std::string result_dir, result_name, plot;
  std::string backend, label;
  std::vector<std::string> metadata;  // KEY=VALUE
};

// argv[0] is the name of the command. kInvalidArgument names the flag; kCancelled when help was shown.
Result<BenchServeOptions> parse_load_options(int argc, const char* const* argv);

}  // namespace foregate
