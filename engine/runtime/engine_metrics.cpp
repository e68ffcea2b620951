#include "engine/runtime/engine_metrics.h"

#include <algorithm>
#include <vector>

#include "kernels/api/check.h"

namespace foregate {
namespace {

// 1, 2, 5, 10, 20, 50, ... up to `most`.
std::vector<double> token_buckets(std::int32_t most) {
  std::vector<double> bounds;
  for (double decade = 1; bounds.empty() || bounds.back() < most; decade *= 10) {
    for (double step : {1.0, 2.0, 5.0}) {
      if (step * decade <= most || bounds.empty()) bounds.push_back(step * decade);
    }
    if (decade * 10 > most) break;
  }
  return bounds;
}

const char* success_label(FinishReason reason) {
  return reason == FinishReason::kCancelled ? "abort" : finish_reason_name(reason);
}

}  // namespace

Labels vllm_labels(const std::string& model_name) {
  return {{"model_name", model_name}, {"engine", "0"}};
}

EngineMetrics::EngineMetrics(Metrics* registry, const std::string& model_name, std::int32_t max_model_len) {
  if (registry == nullptr) {
    own_ = std::make_unique<Metrics>();
    registry = own_.get();
  }
  Metrics& m = *registry;
  const Labels labels = vllm_labels(model_name), own = {{"model_name", model_name}};
  running_ = &m.gauge("vllm:num_requests_running", "Samples in the running batch.", labels);
  waiting_ = &m.gauge("vllm:num_requests_waiting", "Samples waiting to be run.", labels);
  Labels reason = labels;
  reason["reason"] = "capacity";
  waiting_capacity_ =
      &m.gauge("vllm:num_requests_waiting_by_reason", "Samples waiting to be run, by what for.", reason);
  reason["reason"] = "deferred";
  waiting_deferred_ =
      &m.gauge("vllm:num_requests_waiting_by_reason", "Samples waiting to be run, by what for.", reason);
  kv_usage_ = &m.gauge("vllm:kv_cache_usage_perc", "Share of KV cache blocks in use, 0 to 1.", labels);
  prompt_tokens_ = &m.counter("vllm:prompt_tokens", "Prompt tokens processed.", labels);
  generation_tokens_ = &m.counter("vllm:generation_tokens", "Tokens generated.", labels);
  preemptions_ = &m.counter("vllm:num_preemptions", "Preemptions of running samples.", labels);
  nonfinite_.counter =
      &m.counter("vllm:corrupted_requests", "Samples ended because of logits that are not finite.", labels);
  device_sampled_.counter =
      &m.counter("foregate_device_sampled_tokens", "Rows whose token was chosen where their logits are.", own);
  graph_launches_.counter = &m.counter("foregate_graph_launches", "Steps given to the GPU as one graph.", own);
  library_products_.counter =
      &m.counter("foregate_library_products", "Dense products of the GPU that cuBLASLt did.", own);
  library_refused_.counter =
      &m.counter("foregate_library_refused", "Dense products that cuBLASLt should have done and knew no way for.", own);
  bugs_.counter = &m.counter("foregate_bugs", "Broken bookkeeping found and survived.");
  steps_.counter = &m.counter("foregate_steps", "Steps of the engine.", own);
  batched_steps_.counter = &m.counter("foregate_batched_steps", "Steps with rows of several samples.", own);
  chunked_prefills_.counter =
      &m.counter("foregate_chunked_prefills", "Parts of prompts that were not the whole prompt.", own);
  add_prefix_series(m, model_name);
  for (FinishReason reason :
       {FinishReason::kStop, FinishReason::kLength, FinishReason::kCancelled, FinishReason::kError}) {
    Labels with_reason = labels;
    with_reason["finished_reason"] = success_label(reason);
    finished_[static_cast<std::size_t>(reason)] =
        &m.counter("vllm:request_success", "Samples that ended, by reason.", with_reason);
  }
  ttft_ = &m.histogram("vllm:time_to_first_token_seconds", "Time to first token.", ttft_buckets(), labels);
  itl_ = &m.histogram("vllm:inter_token_latency_seconds", "Time between tokens.", itl_buckets(), labels);
  e2e_ = &m.histogram("vllm:e2e_request_latency_seconds", "Arrival to end.", latency_buckets(), labels);
  queue_time_ = &m.histogram("vllm:request_queue_time_seconds", "Arrival to first step.", latency_buckets(), labels);
  iteration_tokens_ = &m.histogram("vllm:iteration_tokens_total", "Rows of one step.",
                                   {1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384}, labels);
  add_request_series(m, labels, max_model_len);
}

void EngineMetrics::add_request_series(Metrics& m, const Labels& labels, std::int32_t max_model_len) {
  const auto buckets = token_buckets(max_model_len);
  request_prompt_tokens_ = &m.histogram("vllm:request_prompt_tokens", "Prompt tokens of a sample.", buckets, labels);
  request_generation_tokens_ =
      &m.histogram("vllm:request_generation_tokens", "Generated tokens of a sample.", buckets, labels);
  // Nothing else is generated for a request than its samples, so the most of one is its own number.
  max_generation_tokens_ =
      &m.histogram("vllm:request_max_num_generation_tokens", "Generated tokens of a sample, at most.", buckets, labels);
  computed_tokens_ = &m.histogram("vllm:request_prefill_kv_computed_tokens",
                                  "Prompt tokens of a sample that were not in the prefix cache.", buckets, labels);
  params_max_tokens_ = &m.histogram("vllm:request_params_max_tokens", "max_tokens of a request.", buckets, labels);
  params_n_ = &m.histogram("vllm:request_params_n", "Samples that a request asks for.", {1, 2, 5, 10, 20}, labels);
  time_per_output_token_ = &m.histogram("vllm:request_time_per_output_token_seconds",
                                        "Mean time between the tokens of a sample.", itl_buckets(), labels);
  prefill_time_ =
      &m.histogram("vllm:request_prefill_time_seconds", "First step to first token.", latency_buckets(), labels);
  decode_time_ =
      &m.histogram("vllm:request_decode_time_seconds", "First token to last token.", latency_buckets(), labels);
  inference_time_ =
      &m.histogram("vllm:request_inference_time_seconds", "First step to last token.", latency_buckets(), labels);
  prompt_tokens_cached_ = &m.counter("vllm:prompt_tokens_cached", "Prompt tokens that were not computed.", labels);
  Labels source = labels;
  source["source"] = "local_compute";
  prompt_tokens_computed_ = &m.counter("vllm:prompt_tokens_by_source", "Prompt tokens, by where from.", source);
  source["source"] = "local_cache_hit";
  prompt_tokens_hit_ = &m.counter("vllm:prompt_tokens_by_source", "Prompt tokens, by where from.", source);
}

void EngineMetrics::add_prefix_series(Metrics& m, const std::string& model_name) {
  const Labels labels = vllm_labels(model_name), own = {{"model_name", model_name}};
  prefix_queries_.counter =
      &m.counter("vllm:prefix_cache_queries", "Prompt tokens looked up in the prefix cache.", labels);
  prefix_hits_.counter = &m.counter("vllm:prefix_cache_hits", "Prompt tokens found in the prefix cache.", labels);
  resume_hits_.counter =
      &m.counter("foregate_prefix_resume_hits", "Tokens of preempted samples that were still in the cache.", own);
  prefix_waits_.counter =
      &m.counter("foregate_prefix_waits", "Samples that waited for another one computing the same prefix.", own);
  prefix_copies_.counter = &m.counter("foregate_prefix_copies", "KV blocks copied before they were written.", own);
  prefix_merges_.counter =
      &m.counter("foregate_prefix_merges", "KV blocks given up for another one with the same contents.", own);
  prefix_evictions_.counter =
      &m.counter("foregate_prefix_evictions", "KV blocks whose kept contents were given up.", own);
  window_freed_.counter =
      &m.counter("foregate_kv_window_blocks_freed", "KV blocks given up because no window reached them.", own);
  kv_window_blocks_ =
      &m.gauge("foregate_kv_window_blocks", "KV blocks for layers with a window alone; 0: they share the others.", own);
  kv_window_used_ = &m.gauge("foregate_kv_window_blocks_used", "Of these, in use.", own);
  kv_kept_ = &m.gauge("foregate_kv_blocks_kept", "Free KV blocks with contents that later prompts may use.", own);
}

void EngineMetrics::first_run(const Sequence& seq, TimeNs now) {
  queue_time_->observe(seconds_between(seq.queued_at, now));
}

void EngineMetrics::token(const Sequence& seq, std::int32_t tokens, TimeNs now) {
  generation_tokens_->add(tokens);
  if (seq.last_token_at >= 0) {
    itl_->observe(seconds_between(seq.last_token_at, now));
    return;
  }
  const std::int32_t cached = std::max(0, seq.cached_tokens);
  prompt_tokens_->add(seq.prompt_tokens());
  prompt_tokens_cached_->add(cached);
  prompt_tokens_hit_->add(cached);
  prompt_tokens_computed_->add(seq.prompt_tokens() - cached);
  computed_tokens_->observe(seq.prompt_tokens() - cached);
  ttft_->observe(seconds_between(seq.queued_at, now));
}

void EngineMetrics::finish(const Sequence& seq, FinishReason reason, TimeNs now) {
  finished_[static_cast<std::size_t>(reason)]->add(1);
  e2e_->observe(seconds_between(seq.queued_at, now));
  request_prompt_tokens_->observe(seq.prompt_tokens());
  request_generation_tokens_->observe(seq.output_tokens());
  max_generation_tokens_->observe(seq.output_tokens());
  params_max_tokens_->observe(seq.request->sampling.max_tokens);
  if (seq.index == 0) params_n_->observe(seq.request->n);
  if (seq.first_token_at >= 0) finish_times(seq);
}

// Of a sample that has a token. Times of a preempted one count what it waited for again.
void EngineMetrics::finish_times(const Sequence& seq) {
  const double decode = seconds_between(seq.first_token_at, seq.last_token_at);
  prefill_time_->observe(seconds_between(seq.first_run_at, seq.first_token_at));
  decode_time_->observe(decode);
  inference_time_->observe(seconds_between(seq.first_run_at, seq.last_token_at));
  if (seq.output_tokens() > 1) time_per_output_token_->observe(decode / (seq.output_tokens() - 1));
}

void EngineMetrics::preempted() {
  preemptions_->add(1);
}

void EngineMetrics::step(std::int32_t rows) {
  iteration_tokens_->observe(rows);
}

void EngineMetrics::figures(const EngineStats& stats) {
  running_->set(static_cast<double>(stats.running));
  waiting_->set(static_cast<double>(stats.waiting));
  kv_usage_->set(stats.kv_usage);
  kv_window_blocks_->set(static_cast<double>(stats.kv_window_blocks_total));
  kv_window_used_->set(static_cast<double>(stats.kv_window_blocks_used));
  waiting_capacity_->set(static_cast<double>(stats.waiting - stats.deferred));
  waiting_deferred_->set(static_cast<double>(stats.deferred));
  nonfinite_.follow(stats.nonfinite_rows);
  device_sampled_.follow(static_cast<double>(stats.device_sampled));
  graph_launches_.follow(static_cast<double>(stats.graph_launches));
  library_products_.follow(static_cast<double>(stats.library_products));
  library_refused_.follow(static_cast<double>(stats.library_refused));
  bugs_.follow(bugs_found());
  steps_.follow(stats.steps);
  batched_steps_.follow(stats.batched_steps);
  chunked_prefills_.follow(stats.chunked_prefills);
  prefix_queries_.follow(stats.prefix_queries);
  prefix_hits_.follow(stats.prefix_hits);
  resume_hits_.follow(stats.resume_hits);
  prefix_waits_.follow(stats.prefix_waits);
  prefix_copies_.follow(stats.prefix_copies);
  prefix_merges_.follow(stats.prefix_merges);
  prefix_evictions_.follow(stats.prefix_evictions);
  window_freed_.follow(static_cast<double>(stats.window_blocks_freed));
  kv_kept_->set(static_cast<double>(stats.kv_blocks_kept));
}

}  // namespace foregate
