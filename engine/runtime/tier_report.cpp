#include "engine/runtime/tier_report.h"

#include <cstdio>

#include "engine/base/log.h"

namespace foregate {

std::string tier_text(const std::optional<TierFigures>& tier) {
  if (!tier) return "none";
  char text[160];
  std::snprintf(text, sizeof text, "%llu slots on the GPU (%.3f GB), %s", static_cast<unsigned long long>(tier->slots),
                static_cast<double>(tier->slot_bytes) * 1e-9,
                tier->staged ? "host memory is not pinned" : "filled from pinned host memory");
  log_info(std::string("expert tiers: ") + text);
  return text;
}

TierReport::TierReport(Metrics* registry, const std::string& model_name)
    : registry_(registry), model_name_(model_name) {}

void TierReport::make_series() {
  Metrics& m = *registry_;
  const Labels labels = {{"model_name", model_name_}};
  const Labels link = {{"model_name", model_name_}, {"from", "host"}, {"to", "device"}};
  hits_.counter = &m.counter("moe_device_hits", "Experts that a layer needed and the GPU had.", labels);
  misses_.counter = &m.counter("moe_device_misses", "Experts that a layer needed and the GPU had not.", labels);
  bytes_.counter = &m.counter("moe_expert_loaded_bytes", "Bytes of experts moved between tiers.", link);
  fetched_.counter = &m.counter("moe_device_fetches", "Experts that were copied to the GPU.", labels);
  computed_.counter = &m.counter("moe_host_computed", "Experts that the CPU computed beside the GPU.", labels);
  computed_seconds_.counter = &m.counter("moe_host_compute_seconds", "Time the CPU took for them.", labels);
  evictions_.counter = &m.counter("moe_device_evictions", "Experts that gave up their place on the GPU.", labels);
  ahead_.counter = &m.counter("moe_device_ahead", "Copies begun before their layer.", labels);
  ahead_useful_.counter = &m.counter("moe_device_ahead_useful", "Of them: used by the layer.", labels);
  ahead_wasted_.counter = &m.counter("moe_device_ahead_wasted", "Of them: not used by it.", labels);
  slots_ = &m.gauge("moe_device_slots", "Experts that the GPU's memory can hold.", labels);
  used_ = &m.gauge("moe_device_slots_used", "Of them: holding one.", labels);
  link_ = &m.gauge("moe_device_link_bytes_per_second", "Speed of copies to the GPU; 0: not measured yet.", link);
  staged_ = &m.gauge("moe_device_staged", "1: host memory could not be pinned, copies pass through a ring.", labels);
  made_ = true;
}

void TierReport::figures(const TierFigures& now) {
  if (registry_ == nullptr) return;
  if (!made_) make_series();
  hits_.follow(static_cast<double>(now.hits));
  misses_.follow(static_cast<double>(now.misses));
  bytes_.follow(static_cast<double>(now.fetched_bytes));
  fetched_.follow(static_cast<double>(now.fetched));
  computed_.follow(static_cast<double>(now.host_computed));
  computed_seconds_.follow(now.host_seconds);
  evictions_.follow(static_cast<double>(now.evictions));
  ahead_.follow(static_cast<double>(now.ahead));
  ahead_useful_.follow(static_cast<double>(now.ahead_useful));
  ahead_wasted_.follow(static_cast<double>(now.ahead_wasted));
  slots_->set(static_cast<double>(now.slots));
  used_->set(static_cast<double>(now.slots_used));
  link_->set(now.link_bytes_per_second);
  staged_->set(now.staged ? 1.0 : 0.0);
}

}  // namespace foregate
