#include "engine/runtime/kv_residency.h"

#include "engine/runtime/engine_metrics.h"

namespace foregate {

KvResidency::KvResidency(Metrics* registry, const std::string& model_name, BlockPool& pool) {
  if (registry == nullptr) return;
  const std::vector<double> buckets = {0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5,  1,   2,
                                       5,     10,    20,    30,   60,   120,  300, 600, 1200, 1800};
  const Labels labels = vllm_labels(model_name);
  lifetime_ = &registry->histogram("vllm:kv_block_lifetime_seconds",
                                   "Allocation of a KV block to the loss of its kept contents.", buckets, labels);
  idle_ = &registry->histogram("vllm:kv_block_idle_before_evict_seconds",
                               "Last use of a KV block to the loss of its kept contents.", buckets, labels);
  gap_ =
      &registry->histogram("vllm:kv_block_reuse_gap_seconds", "Time between two uses of a KV block.", buckets, labels);
  times_.resize(static_cast<std::size_t>(pool.total_blocks()));
  pool.watch(this);
}

void KvResidency::allocated(BlockId block) {
  of(block) = {now_, now_};
}

void KvResidency::taken_over(BlockId block) {
  Times& times = of(block);
  gap_->observe(seconds_between(times.used, now_));
  times.used = now_;
}

void KvResidency::evicted(BlockId block) {
  const Times& times = of(block);
  lifetime_->observe(seconds_between(times.allocated, now_));
  idle_->observe(seconds_between(times.used, now_));
}

}  // namespace foregate
