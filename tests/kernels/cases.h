// The one list of op cases: every table is compared with ref on it, and with itself across threads.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tests/kernels/harness.h"

namespace foregate::testing {

struct OpCase {
  std::string name;
  double tolerance = 0;        // Args::tolerance of the op
  std::int64_t row_width = 1;  // of the output rows
  std::function<Floats(const OpTable&, Stream&)> run;
  bool host_only = false;  // devices have no kernel for its format
};

const std::vector<OpCase>& op_cases();

// Of ops that tables may lack: devices have them, and ref.
const std::vector<OpCase>& device_cases();

}  // namespace foregate::testing
