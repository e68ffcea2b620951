// What a batch of the API reads and leaves on the disk: its input looked through before a line is asked, and its
// answers parted into those that succeeded and those that did not. No state; a worker's work.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/base/status.h"

namespace foregate {

struct BatchFault {
  std::string code;
  std::string message;
  std::string param;
  std::uint64_t line = 0;  // from 1; 0: of the whole
};

struct CheckedInput {
  std::uint64_t lines = 0;
  std::vector<BatchFault> faults;  // the first ones; none: it can run
};

struct InputLimits {
  std::uint64_t lines = 50000;
  std::uint64_t line_bytes = 4u << 20;
};

// Every line must be a request for `endpoint` with a custom_id of its own.
CheckedInput check_batch_input(const std::string& path, const std::string& endpoint, const InputLimits& limits);

struct PartedOutput {
  std::uint64_t succeeded = 0;
  std::uint64_t failed = 0;
  std::uint64_t output_bytes = 0;
  std::uint64_t error_bytes = 0;
};

// The lines of `answers`: those with status 200 to `output`, the others to `errors`, each made anew and synced, in
// order.
Result<PartedOutput> part_answers(const std::string& answers, const std::string& output, const std::string& errors);

}  // namespace foregate
