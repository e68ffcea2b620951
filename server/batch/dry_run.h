// What a batch would ask, without asking it. Pure but for reading the lines.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "server/batch/line_source.h"
#include "server/openai/api_request.h"

namespace foregate {

struct DryRun {
  std::uint64_t requests = 0;
  std::uint64_t prompt_tokens = 0;
  std::uint64_t most_completion_tokens = 0;  // if every answer takes all it may
  std::uint64_t fault_count = 0;
  std::vector<std::string> faults;  // the first ones, with their lines
};

Result<DryRun> dry_run(LineSource& source, const ApiContext& context, std::uint64_t seed);
std::string dry_run_text(const DryRun& counted);

}  // namespace foregate
