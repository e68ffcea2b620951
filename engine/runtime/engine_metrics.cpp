#include "engine/runtime/engine_metrics.h"

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

EngineMetrics::EngineMetrics(Metrics* registry, const std::string& model_name, std::int32_t max_model_len) {
  if (registry == nullptr) {
    own_ = std::make_unique<Metrics>();
    registry = own_.get();
  }
  Metrics& m = *registry;
  const Labels labels = {{"model_name", model_name}};
  running_ = &m.gauge("vllm:num_requests_running", "Samples in the running batch.", labels);
  waiting_ = &m.gauge("vllm:num_requests_waiting", "Samples waiting to be run.", labels);
  kv_usage_ = &m.gauge("vllm:kv_cache_usage_perc", "Share of KV cache blocks in use, 0 to 1.", labels);
  prompt_tokens_ = &m.counter("vllm:prompt_tokens", "Prompt tokens processed.", labels);
  generation_tokens_ = &m.counter("vllm:generation_tokens", "Tokens generated.", labels);
  preemptions_ = &m.counter("vllm:num_preemptions", "Preemptions of running samples.", labels);
  nonfinite_.counter =
      &m.counter("vllm:corrupted_requests", "Samples ended because of logits that are not finite.", labels);
  device_sampled_.counter =
      &m.counter("foregate_device_sampled_tokens", "Rows whose token was chosen where their logits are.", labels);
  graph_launches_.counter = &m.counter("foregate_graph_launches", "Steps given to the GPU as one graph.", labels);
  bugs_.counter = &m.counter("foregate_bugs", "Broken bookkeeping found and survived.");
  steps_.counter = &m.counter("foregate_steps", "Steps of the engine.", labels);
  batched_steps_.counter = &m.counter("foregate_batched_steps", "Steps with rows of several samples.", labels);
  chunked_prefills_.counter =
      &m.counter("foregate_chunked_prefills", "Parts of prompts that were not the whole prompt.", labels);
  add_prefix_series(m, labels);
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
  const auto buckets = token_buckets(max_model_len);
  request_prompt_tokens_ = &m.histogram("vllm:request_prompt_tokens", "Prompt tokens of a sample.", buckets, labels);
  request_generation_tokens_ =
      &m.histogram("vllm:request_generation_tokens", "Generated tokens of a sample.", buckets, labels);
}

void EngineMetrics::add_prefix_series(Metrics& m, const Labels& labels) {
  prefix_queries_.counter =
      &m.counter("vllm:prefix_cache_queries", "Prompt tokens looked up in the prefix cache.", labels);
  prefix_hits_.counter = &m.counter("vllm:prefix_cache_hits", "Prompt tokens found in the prefix cache.", labels);
  resume_hits_.counter =
      &m.counter("foregate_prefix_resume_hits", "Tokens of preempted samples that were still in the cache.", labels);
  prefix_waits_.counter =
      &m.counter("foregate_prefix_waits", "Samples that waited for another one computing the same prefix.", labels);
  prefix_copies_.counter = &m.counter("foregate_prefix_copies", "KV blocks copied before they were written.", labels);
  prefix_merges_.counter =
      &m.counter("foregate_prefix_merges", "KV blocks given up for another one with the same contents.", labels);
  prefix_evictions_.counter =
      &m.counter("foregate_prefix_evictions", "KV blocks whose kept contents were given up.", labels);
  window_freed_.counter =
      &m.counter("foregate_kv_window_blocks_freed", "KV blocks given up because no window reached them.", labels);
  kv_kept_ = &m.gauge("foregate_kv_blocks_kept", "Free KV blocks with contents that later prompts may use.", labels);
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
  prompt_tokens_->add(seq.prompt_tokens());
  ttft_->observe(seconds_between(seq.queued_at, now));
}

void EngineMetrics::finish(const Sequence& seq, FinishReason reason, TimeNs now) {
  finished_[static_cast<std::size_t>(reason)]->add(1);
  e2e_->observe(seconds_between(seq.queued_at, now));
  request_prompt_tokens_->observe(seq.prompt_tokens());
  request_generation_tokens_->observe(seq.output_tokens());
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
  const auto total = static_cast<double>(stats.kv_blocks_total);
  kv_usage_->set(total > 0 ? static_cast<double>(stats.kv_blocks_used) / total : 0.0);
  nonfinite_.follow(stats.nonfinite_rows);
  device_sampled_.follow(static_cast<double>(stats.device_sampled));
  graph_launches_.follow(static_cast<double>(stats.graph_launches));
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
