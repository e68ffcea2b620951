// The engine's series under vLLM's names (label model_name), so that boards and autoscalers made for
// vLLM read them. Written by the engine thread; the registry is thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "engine/api/engine.h"
#include "engine/base/metrics.h"
#include "engine/runtime/counter_follower.h"
#include "engine/sched/sequence.h"

namespace foregate {

// Of every series under a name of vLLM's; one server is one engine.
Labels vllm_labels(const std::string& model_name);

class EngineMetrics {
 public:
  // With no registry given the series go to one of its own, which nobody reads.
  EngineMetrics(Metrics* registry, const std::string& model_name, std::int32_t max_model_len);
  void first_run(const Sequence& seq, TimeNs now);
  // Before last_token_at moves on; 0 tokens when the sample ended with a stop id.
  void token(const Sequence& seq, std::int32_t tokens, TimeNs now);
  void finish(const Sequence& seq, FinishReason reason, TimeNs now);
  void preempted();
  void step(std::int32_t rows);
  void figures(const EngineStats& stats);  // once a turn

 private:
  void add_prefix_series(Metrics& m, const std::string& model_name);
  void add_request_series(Metrics& m, const Labels& labels, std::int32_t max_model_len);
  void finish_times(const Sequence& seq);
  std::unique_ptr<Metrics> own_;
  Gauge* running_;
  Gauge* waiting_;
  Gauge* waiting_capacity_;
  Gauge* waiting_deferred_;
  Gauge* kv_usage_;
  Counter* prompt_tokens_;
  Counter* generation_tokens_;
  Counter* preemptions_;
  // A counter that follows a figure kept elsewhere.
  CounterFollower nonfinite_;
  CounterFollower device_sampled_;
  CounterFollower graph_launches_;
  CounterFollower library_products_;
  CounterFollower library_refused_;
  CounterFollower bugs_;
  CounterFollower steps_;
  CounterFollower batched_steps_;
  CounterFollower chunked_prefills_;
  CounterFollower prefix_queries_;
  CounterFollower prefix_hits_;
  CounterFollower resume_hits_;
  CounterFollower prefix_waits_;
  CounterFollower prefix_copies_;
  CounterFollower prefix_merges_;
  CounterFollower prefix_evictions_;
  CounterFollower window_freed_;
  Gauge* kv_kept_;
  Gauge* kv_window_blocks_;
  Gauge* kv_window_used_;
  std::array<Counter*, 4> finished_;
  Histogram* ttft_;
  Histogram* itl_;
  Histogram* e2e_;
  Histogram* queue_time_;
  Histogram* iteration_tokens_;
  Histogram* request_prompt_tokens_;
  Histogram* request_generation_tokens_;
  Counter* prompt_tokens_cached_;
  Counter* prompt_tokens_computed_;
  Counter* prompt_tokens_hit_;
  Histogram* time_per_output_token_;
  Histogram* prefill_time_;
  Histogram* decode_time_;
  Histogram* inference_time_;
  Histogram* computed_tokens_;
  Histogram* params_n_;
  Histogram* params_max_tokens_;
  Histogram* max_generation_tokens_;
};

}  // namespace foregate
