// What an engine is made of. boot.cpp fills it for a served model; tests put a stub model, a clock
// and a tiny pool in it. make_engine starts the engine thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "engine/api/engine.h"
#include "engine/base/clock.h"
#include "engine/base/metrics.h"
#include "engine/base/status.h"
#include "engine/kv/kv_cache.h"
#include "engine/model/model.h"
#include "engine/sched/elastic_plan.h"
#include "engine/sched/policy.h"
#include "engine/sched/scheduler.h"
#include "engine/spec/draft_tree.h"
#include "engine/spec/drafter.h"
#include "kernels/api/device.h"

namespace foregate {

// What a sequence that has to give up its blocks comes back by.
enum class PreemptionMode : std::uint8_t { kRecompute, kSwap, kAuto };

struct EngineOptions {
  std::int32_t max_num_seqs = 32;             // sequences in one step
  std::int32_t max_num_batched_tokens = 512;  // rows of one step
  std::int32_t max_num_queued_reqs = 256;     // sequences that may wait beyond max_num_seqs
  std::int32_t max_prefill_chunk = 0;         // rows of one prompt in one step; 0 = no bound of its own
  std::int32_t max_logit_rows = 64;           // rows of one prompt in one step when prompt_logprobs is set
  std::int32_t max_fatal_steps = 8;           // failed steps in a row after which the engine gives up
  PolicyOptions policy;                       // who comes first
  std::int32_t expert_batch_delay = 0;        // steps that one may be held back for its experts; 0 = never
  PreemptionMode preemption = PreemptionMode::kRecompute;
  std::int64_t swap_space_bytes = 0;       // host memory for blocks of preempted sequences
  double target_itl_seconds = 0.0;         // prompts are cut so that decode steps take no longer; 0 = no target
  std::int64_t max_num_queued_tokens = 0;  // prompt tokens of sequences that have not run yet; 0 = no bound
  std::int32_t max_client_share = 100;     // percent of all places that one client may hold
  bool prefix_caching = true;              // blocks that were computed serve later prompts that start the same
  bool free_window_blocks = true;          // blocks that no layer's window reaches any more are given up
  bool device_sampling = true;             // on a model that samples where it computes
  double step_limit_seconds = 60.0;        // a longer step makes healthy() false
  std::uint64_t seed = 0;                  // start of the seeds of requests that bring none
  std::string model_name;                  // label of the metrics
};

struct SpeculationParts {
  std::unique_ptr<Drafter> drafter;         // none: plain decoding
  std::int32_t num_speculative_tokens = 4;  // drafted after one another for one sequence in one step, at most
  TreeShape tree;                           // of drafts, where they branch; on a device whose memory is the host's
  bool adaptive = false;                    // fewer or none where that is measured to be faster
};

// KV blocks and slots of experts that share one budget, where the model has slots that come and go (elastic_slots())
// and the cache is made by create_elastic(). At the start both are within it.
struct ElasticParts {
  std::int64_t budget_bytes = 0;    // 0: none; all blocks of the cache are there
  std::int64_t block_bytes = 0;     // of the cache's layout
  std::int32_t present_blocks = 0;  // at the start; whole units of the cache, as the next
  std::int32_t least_blocks = 0;    // that stay in any case: what a request may need at most
  ElasticRules rules;
};

// `device`, `clock` and `metrics` must outlive the engine; `metrics` may be null.
struct EngineParts {
  std::unique_ptr<Model> model;
  Device* device = nullptr;
  KvCache cache;
  ElasticParts elastic;
  EngineOptions options;
  SpeculationParts speculation;
  ModelInfo info;
  Limits limits;
  const Clock* clock = nullptr;  // null: system_clock()
  PlanStep planner;              // none: plan_step
  Metrics* metrics = nullptr;
};

// kInvalidArgument, naming the option, when the parts do not fit together.
Result<std::unique_ptr<Engine>> make_engine(EngineParts parts);

}  // namespace foregate
