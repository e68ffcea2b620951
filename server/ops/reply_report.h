// What replies were read into, as metrics. Loop thread.
#pragma once

#include <vector>

#include "engine/base/metrics.h"
#include "server/reply/piece.h"

namespace foregate {

class ReplyReport {
 public:
  explicit ReplyReport(Metrics& metrics);
  void note(const std::vector<ReplyPiece>& pieces);

 private:
  Counter& calls_;
  Counter& reasoning_;
};

}  // namespace foregate
