#include "engine/runtime/sched_report.h"

#include "engine/runtime/engine_metrics.h"

namespace foregate {
namespace {

const char* mode_name(PreemptionMode mode) {
  switch (mode) {
    case PreemptionMode::kRecompute: return "recompute";
    case PreemptionMode::kSwap: return "swap";
    case PreemptionMode::kAuto: return "auto";
  }
  return "recompute";
}

}  // namespace

SchedReport::SchedReport(Metrics* registry, const EngineOptions& options) {
  if (registry == nullptr) return;
  on_ = true;
  const Labels labels = {{"model_name", options.model_name}};
  Labels info = labels;
  info["policy"] = policy_name(options.policy.kind);
  info["preemption_mode"] = mode_name(options.preemption);
  registry->gauge("foregate_scheduling_info", "The scheduling policy in force; always 1.", info).set(1);
  add_counters(*registry, labels);
  swap_bytes_ = &registry->gauge("foregate_swap_bytes", "Host memory that holds blocks of preempted samples.", labels);
  queued_tokens_ =
      &registry->gauge("foregate_queued_tokens", "Prompt tokens of samples that have not run yet.", labels);
  mixed_rows_ = &registry->gauge("foregate_mixed_step_rows",
                                 "Rows of a step with decode rows that keep to --target-itl-ms; 0: no bound.", labels);
}

void SchedReport::add_counters(Metrics& m, const Labels& labels) {
  const auto refused = [&](const char* reason) {
    Labels with_reason = labels;
    with_reason["reason"] = reason;
    return &m.counter("foregate_refused_requests", "Requests refused because of a bound of the queue.", with_reason);
  };
  refused_full_.counter = refused("places");
  refused_tokens_.counter = refused("tokens");
  refused_share_.counter = refused("client_share");
  const auto rejected = [&](const char* reason) {
    Labels with_reason = vllm_labels(labels.at("model_name"));
    with_reason["reason"] = reason;
    return &m.counter("vllm:admission_rejections", "Requests refused because of a bound of the queue.", with_reason);
  };
  rejected_requests_.counter = rejected("max_num_queued_reqs");
  rejected_tokens_.counter = rejected("max_num_queued_tokens");
  rejected_share_.counter = rejected("max_client_share");
  demotions_.counter = &m.counter("foregate_policy_demotions", "Levels that samples fell under mlfq.", labels);
  promotions_.counter =
      &m.counter("foregate_policy_promotions", "Samples put into the top level because they waited.", labels);
  refills_.counter = &m.counter("foregate_policy_refills", "Quanta given out to all waiting clients (dlpm).", labels);
  held_back_.counter =
      &m.counter("foregate_expert_held_back_rows", "Rows put off because their experts were not in memory.", labels);
  swaps_out_.counter = &m.counter("foregate_swaps_out", "Preempted samples whose blocks were copied out.", labels);
  swaps_in_.counter = &m.counter("foregate_swaps_in", "Copies of blocks that were taken back.", labels);
}

void SchedReport::figures(const EngineStats& stats, const LedgerFigures& ledger, std::int32_t mixed_rows) {
  if (!on_) return;
  demotions_.follow(static_cast<double>(stats.policy_demotions));
  promotions_.follow(static_cast<double>(stats.policy_promotions));
  refills_.follow(static_cast<double>(stats.policy_refills));
  held_back_.follow(static_cast<double>(stats.expert_held_back));
  swaps_out_.follow(static_cast<double>(stats.swaps_out));
  swaps_in_.follow(static_cast<double>(stats.swaps_in));
  refused_full_.follow(static_cast<double>(ledger.refused_full));
  refused_tokens_.follow(static_cast<double>(ledger.refused_tokens));
  refused_share_.follow(static_cast<double>(ledger.refused_share));
  rejected_requests_.follow(static_cast<double>(ledger.refused_full));
  rejected_tokens_.follow(static_cast<double>(ledger.refused_tokens));
  rejected_share_.follow(static_cast<double>(ledger.refused_share));
  swap_bytes_->set(static_cast<double>(stats.swap_bytes_used));
  queued_tokens_->set(static_cast<double>(ledger.queued_tokens));
  mixed_rows_->set(mixed_rows);
}

}  // namespace foregate
