// What a model's ranks really take on this machine, beside what the scale model says. Measured to predict by: the
// pieces (an expert, a row, a message), one by one, and steps of one rank with the fewest and the most rows. Everything
// else is predicted, and measured to tell how far off that is. For `foregate scale --check`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/placement/scale.h"

namespace foregate {

struct ScaleCheckOptions {
  std::string model;
  std::int32_t ranks = 4;                       // 1 to so many, of one thread each
  std::vector<std::int32_t> rows = {1, 4, 16};  // sequences that decode; two widths or more, at most kMostRows each
  int rounds = 9;                               // of each measurement, in turns with the others
  std::int32_t tokens = 100;                    // steps of a round
  static constexpr std::int32_t kMostRows = 64;
};

struct ScaleChecked {
  std::int32_t ranks = 1;
  std::int32_t rows = 1;
  double measured = 0.0;  // seconds of a decode step, median
  double predicted = 0.0;
  StepTimes parts;          // of the prediction
  bool calibrates = false;  // what it was predicted by
};

struct ScaleCheck {
  StarRanks pieces;  // of one rank
  std::vector<ScaleChecked> steps;
  // Of the predicted ones: how far off, as a part of what was measured, median over them.
  double median_error() const;
};

// As boot_model() fails; kInvalidArgument names the option.
Result<ScaleCheck> check_scale(const ScaleCheckOptions& options);

}  // namespace foregate
