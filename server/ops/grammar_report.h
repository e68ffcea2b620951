// What the grammar compiler did, as metrics. Loop thread.
#pragma once

#include "engine/base/metrics.h"
#include "engine/grammar/compile.h"

namespace foregate {

class GrammarReport {
 public:
  explicit GrammarReport(Metrics& metrics);
  void update(const CompilerFigures& now);

 private:
  struct Row {
    Counter* counter;
    double seen = 0;
    void follow(double value);
  };
  Row compiles_, failures_, hits_, seconds_, computed_, reused_;
  Gauge& bytes_;
};

}  // namespace foregate
