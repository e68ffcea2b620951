#include "engine/runtime/expert_report.h"

#include <cstdio>

#include "engine/base/log.h"

namespace foregate {
namespace {

constexpr TimeNs kLineEveryNs = 10'000'000'000;
constexpr double kLeastLook = 1000;  // uses that a hit ratio is taken over

double real(std::uint64_t value) {
  return static_cast<double>(value);
}

double share(double part, double whole) {
  return whole > 0 ? part / whole : 0.0;
}

}  // namespace

ExpertReport::ExpertReport(Metrics* registry, const std::string& model_name) {
  if (registry == nullptr) {
    own_ = std::make_unique<Metrics>();
    registry = own_.get();
  }
  Metrics& m = *registry;
  const Labels labels = {{"model_name", model_name}};
  const Labels from_disk = {{"model_name", model_name}, {"from", "disk"}, {"to", "host"}};
  hits_.counter = &m.counter("moe_expert_hits", "Experts that a layer needed and memory had.", labels);
  misses_.counter = &m.counter("moe_expert_misses", "Experts that a layer needed and memory had not.", labels);
  late_.counter = &m.counter("moe_expert_late", "Of the misses: on their way by a hint.", labels);
  evictions_.counter = &m.counter("moe_expert_evictions", "Experts that gave up their place.", labels);
  loaded_bytes_.counter = &m.counter("moe_expert_loaded_bytes", "Bytes of experts moved between tiers.", from_disk);
  retries_.counter = &m.counter("moe_expert_load_retries", "Loads that were begun again after a fault.", from_disk);
  failures_.counter = &m.counter("moe_expert_load_failures", "Loads that failed twice.", from_disk);
  stall_.counter = &m.counter("moe_expert_stall_seconds", "Time a step waited with no expert ready.", labels);
  hints_.counter = &m.counter("moe_hints", "Loads begun ahead of use.", labels);
  hints_useful_.counter = &m.counter("moe_hints_useful", "Of them: used by the layer they were for.", labels);
  hints_wasted_.counter = &m.counter("moe_hints_wasted", "Of them: not used by it.", labels);
  token_hints_.counter = &m.counter("moe_token_hints", "Of the hints: by tokens of a step, before it began.", labels);
  token_hints_useful_.counter =
      &m.counter("moe_token_hints_useful", "Of them: used by the layer they were for.", labels);
  token_hints_wasted_.counter = &m.counter("moe_token_hints_wasted", "Of them: not used by it.", labels);
  token_guesses_.counter =
      &m.counter("moe_token_guesses", "Experts that rows of known tokens were expected to use.", labels);
  token_guesses_right_.counter = &m.counter("moe_token_guesses_right", "Of them: the row was routed there.", labels);
  certain_.counter = &m.counter("moe_certain_experts", "Experts of routes known before their layer ran.", labels);
  certain_right_.counter = &m.counter("moe_certain_experts_right", "Of them: used by the layer.", labels);
  certain_hints_.counter = &m.counter("moe_certain_hints", "Loads begun for routes known ahead.", labels);
  certain_useful_.counter = &m.counter("moe_certain_hints_useful", "Of them: ended when the layer began.", labels);
  certain_late_.counter = &m.counter("moe_certain_hints_late", "Of them: on their way then.", labels);
  hint_bytes_ = hint_series(m, model_name, "guess");
  certain_bytes_ = hint_series(m, model_name, "certain");
  ahead_.counter = &m.counter("moe_prompt_reads_ahead", "Loads of prompts begun a layer ahead.", labels);
  ahead_useful_.counter = &m.counter("moe_prompt_reads_ahead_useful", "Of them: used by the layer.", labels);
  ahead_late_.counter = &m.counter("moe_prompt_reads_ahead_late", "Of the used: on their way then.", labels);
  ahead_wasted_.counter = &m.counter("moe_prompt_reads_ahead_wasted", "Of them: not used by it.", labels);
  sweeps_.counter = &m.counter("moe_expert_sweeps", "Layers of decode steps that were swept in order.", labels);
  repeated_.counter = &m.counter("moe_expert_repeated_loads",
                                 "Loads of an expert beyond the first between two runs of its layer.", labels);
  shadow_uses_.counter =
      &m.counter("moe_expert_shadow_uses", "Experts needed by the layers on which policies are compared.", labels);
  policy_switches_.counter = &m.counter("moe_expert_policy_switches", "Changes of the policy that decides.", labels);
  for (std::size_t i = 0; i < policies_.size(); ++i) {
    const Labels of = {{"model_name", model_name}, {"policy", std::string(kShadowPolicies[i])}};
    policies_[i].hits.counter =
        &m.counter("moe_expert_shadow_hits", "Of them: in memory, had this policy decided.", of);
    policies_[i].ratio = &m.gauge("moe_expert_shadow_hit_ratio", "The same as a share, since the last look.", of);
    policies_[i].decides = &m.gauge("moe_expert_policy", "1 for the policy that decides which experts stay.", of);
  }
  guesses_.counter = &m.counter("moe_lookahead_guesses", "Experts guessed for rows by the routers ahead.", labels);
  guesses_right_.counter = &m.counter("moe_lookahead_guesses_right", "Of them: the row was routed there.", labels);
  guesses_right_plain_.counter = &m.counter("moe_lookahead_guesses_right_plain",
                                            "Of the guesses: right without the correction; in shadow mode.", labels);
  mixed_guesses_.counter = &m.counter("moe_lookahead_mixed_guesses",
                                      "Of the guesses: for rows that were generated beside a prompt.", labels);
  slots_ = &m.gauge("moe_expert_slots", "Experts that memory can hold.", labels);
  used_ = &m.gauge("moe_expert_slots_used", "Of them: holding or loading one.", labels);
  costed_ = &m.gauge("moe_calibrated_observed_read_bytes_per_second",
                     "Speed of loads as the cost model averages it; 0: no model, or no loads yet.", from_disk);
  bandwidth_ = &m.gauge("moe_expert_read_bytes_per_second", "Speed of loads while any was in flight.", from_disk);
}

ExpertReport::HintSeries ExpertReport::hint_series(Metrics& m, const std::string& model_name, const char* kind) {
  const Labels labels = {{"model_name", model_name}, {"kind", kind}};
  HintSeries series;
  series.asked.counter = &m.counter("moe_expert_hint_bytes", "Bytes of experts whose load ahead was begun.", labels);
  series.useful.counter =
      &m.counter("moe_expert_hint_useful_bytes", "Of them: in memory when a layer asked for them.", labels);
  series.late.counter = &m.counter("moe_expert_hint_late_bytes", "Of them: on their way then.", labels);
  series.wasted.counter = &m.counter("moe_expert_hint_wasted_bytes", "Of them: read, and not used.", labels);
  return series;
}

void ExpertReport::HintSeries::follow(const HintBytes& now) {
  asked.follow(real(now.asked));
  useful.follow(real(now.useful));
  late.follow(real(now.late));
  wasted.follow(real(now.wasted));
}

void ExpertReport::figures(const ExpertFigures& now, TimeNs time) {
  hits_.follow(real(now.hits));
  misses_.follow(real(now.misses));
  late_.follow(real(now.late));
  evictions_.follow(real(now.evictions));
  loaded_bytes_.follow(real(now.loaded_bytes));
  retries_.follow(real(now.load_retries));
  failures_.follow(real(now.load_failures));
  stall_.follow(now.stall_seconds);
  hints_.follow(real(now.hints));
  hints_useful_.follow(real(now.hints_useful));
  hints_wasted_.follow(real(now.hints_wasted));
  token_hints_.follow(real(now.token_hints));
  token_hints_useful_.follow(real(now.token_hints_useful));
  token_hints_wasted_.follow(real(now.token_hints_wasted));
  token_guesses_.follow(real(now.token_guesses));
  token_guesses_right_.follow(real(now.token_guesses_right));
  policy_figures(now.policy);
  hint_bytes_.follow(now.hint_bytes);
  certain_bytes_.follow(now.certain_bytes);
  certain_.follow(real(now.certain));
  certain_right_.follow(real(now.certain_right));
  certain_hints_.follow(real(now.certain_hints));
  certain_useful_.follow(real(now.certain_useful));
  certain_late_.follow(real(now.certain_late));
  ahead_.follow(real(now.ahead));
  ahead_useful_.follow(real(now.ahead_useful));
  ahead_late_.follow(real(now.ahead_late));
  ahead_wasted_.follow(real(now.ahead_wasted));
  sweeps_.follow(real(now.sweeps));
  repeated_.follow(real(now.repeated_loads));
  guesses_.follow(real(now.guesses));
  guesses_right_.follow(real(now.guesses_right));
  guesses_right_plain_.follow(real(now.guesses_right_plain));
  mixed_guesses_.follow(real(now.mixed_guesses));
  slots_->set(real(now.slots));
  used_->set(real(now.slots_used));
  costed_->set(now.costed_read_rate);
  bandwidth_->set(share(real(now.loaded_bytes), now.read_seconds));
  if (last_line_ < 0) last_line_ = time;
  if (time - last_line_ >= kLineEveryNs) log_line(now, time);
}

void ExpertReport::log_line(const ExpertFigures& now, TimeNs time) {
  const double seconds = seconds_between(last_line_, time);
  const double hits = real(now.hits - last_.hits);
  const double misses = real(now.misses - last_.misses);
  const double bytes = real(now.loaded_bytes - last_.loaded_bytes);
  if (misses > 0) {
    char text[240];
    std::snprintf(
        text, sizeof text,
        "experts: %.1f %% of %.0f found in memory, %.1f MB/s read over %.0f s (%.0f MB/s while reading), steps "
        "waited %.0f %% of the time, %llu of %llu slots used",
        100 * share(hits, hits + misses), hits + misses, bytes / seconds * 1e-6, seconds,
        share(bytes, now.read_seconds - last_.read_seconds) * 1e-6,
        100 * (now.stall_seconds - last_.stall_seconds) / seconds, static_cast<unsigned long long>(now.slots_used),
        static_cast<unsigned long long>(now.slots));
    log_info(text);
  }
  log_hints(now);
  last_ = now;
  last_line_ = time;
}

void ExpertReport::policy_figures(const PolicyFigures& now) {
  const double uses = real(now.shadow_uses) - shadow_uses_.seen;
  const bool look = uses >= kLeastLook;
  for (std::size_t i = 0; i < policies_.size(); ++i) {
    PolicySeries& of = policies_[i];
    of.decides->set(now.now == kShadowPolicies[i] ? 1 : 0);
    if (!look) continue;
    of.ratio->set((real(now.shadow_hits[i]) - of.hits.seen) / uses);
    of.hits.follow(real(now.shadow_hits[i]));
  }
  if (look) shadow_uses_.follow(real(now.shadow_uses));
  policy_switches_.follow(real(now.switches));
  if (!policy_now_.empty() && policy_now_ != now.now) {
    log_info("experts: policy " + std::string(now.now) +
             " decides from now on, it would have missed fewer bytes than " + std::string(policy_now_));
  }
  policy_now_ = now.now;
}

void ExpertReport::log_hints(const ExpertFigures& now) {
  const HintBytes guessed = now.hint_bytes - last_.hint_bytes;
  const HintBytes certain = now.certain_bytes - last_.certain_bytes;
  const double asked = real(guessed.asked + certain.asked);
  if (asked == 0) return;
  char text[160];
  std::snprintf(text, sizeof text, "experts: %.1f MB loaded ahead, %.1f MB in time, %.1f MB late, %.1f MB in vain",
                asked * 1e-6, real(guessed.useful + certain.useful) * 1e-6, real(guessed.late + certain.late) * 1e-6,
                real(guessed.wasted + certain.wasted) * 1e-6);
  log_info(text);
}

}  // namespace foregate
