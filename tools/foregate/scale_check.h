// What a model's ranks really take on this machine, beside what the scale model says: the pieces are measured one by
// one, the whole is not. For `foregate scale --check`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/placement/scale.h"

namespace foregate {

struct ScaleChecked {
  std::int32_t ranks = 1;
  std::int32_t rows = 1;
  double measured = 0.0;   // seconds of a decode step, median
  double predicted = 0.0;  // 0: this was measured to predict the others
};

struct ScaleCheck {
  StarRanks pieces;  // of one rank
  std::vector<ScaleChecked> steps;
};

// Decode steps of `rows` sequences each on 1 to `ranks` ranks of one thread. As boot_model() fails.
Result<ScaleCheck> check_scale(const std::string& model, std::int32_t ranks, const std::vector<std::int32_t>& rows);

}  // namespace foregate
