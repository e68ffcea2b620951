// How long KV blocks stay, as vLLM tells of it: from their allocation to the loss of their contents, since they were
// last taken over before that, and between two times that they were. Of every block, without sampling: a turn's clock
// and two times for a block. Engine thread only.
#pragma once

#include <vector>

#include "engine/base/clock.h"
#include "engine/base/metrics.h"
#include "engine/kv/block_pool.h"

namespace foregate {

class KvResidency final : public BlockWatch {
 public:
  // Without a registry nothing is watched. `pool` outlives this.
  KvResidency(Metrics* registry, const std::string& model_name, BlockPool& pool);
  void turn(TimeNs now) { now_ = now; }
  void allocated(BlockId block) override;
  void taken_over(BlockId block) override;
  void evicted(BlockId block) override;

 private:
  struct Times {
    TimeNs allocated = 0;
    TimeNs used = 0;
  };
  Times& of(BlockId block) { return times_[static_cast<std::size_t>(block.value)]; }
  TimeNs now_ = 0;
  std::vector<Times> times_;
  Histogram* lifetime_ = nullptr;
  Histogram* idle_ = nullptr;
  Histogram* gap_ = nullptr;
};

}  // namespace foregate
