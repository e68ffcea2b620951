#include "engine/runtime/elastic_report.h"

#include <cstdio>

#include "engine/base/log.h"

namespace foregate {
namespace {

constexpr TimeNs kLineEveryNs = 10'000'000'000;

}  // namespace

void ElasticReport::make_series() {
  Metrics& m = *registry_;
  const Labels labels = {{"model_name", model_name_}};
  const auto to = [&labels](const char* whom) {
    Labels with = labels;
    with["to"] = whom;
    return with;
  };
  budget_ = &m.gauge("foregate_elastic_budget_bytes", "Bytes that KV blocks and experts share.", labels);
  cache_ = &m.gauge("foregate_elastic_kv_bytes", "Of them: KV blocks now.", labels);
  experts_ = &m.gauge("foregate_elastic_expert_bytes", "Of them: slots of experts now.", labels);
  const char* moves = "Times that a part of the budget changed hands.";
  to_cache_.counter = &m.counter("foregate_elastic_moves", moves, to("kv"));
  to_experts_.counter = &m.counter("foregate_elastic_moves", moves, to("experts"));
  const char* bytes = "Bytes that changed hands.";
  bytes_to_cache_.counter = &m.counter("foregate_elastic_moved_bytes", bytes, to("kv"));
  bytes_to_experts_.counter = &m.counter("foregate_elastic_moved_bytes", bytes, to("experts"));
  made_ = true;
}

void ElasticReport::figures(const ElasticFigures& now, std::int64_t blocks, TimeNs time) {
  log_line(now, blocks, time);
  if (registry_ == nullptr) return;
  if (!made_) make_series();
  budget_->set(static_cast<double>(now.budget_bytes));
  cache_->set(static_cast<double>(now.cache_bytes));
  experts_->set(static_cast<double>(now.expert_bytes));
  to_cache_.follow(static_cast<double>(now.moves_to_cache));
  to_experts_.follow(static_cast<double>(now.moves_to_experts));
  bytes_to_cache_.follow(static_cast<double>(now.bytes_to_cache));
  bytes_to_experts_.follow(static_cast<double>(now.bytes_to_experts));
}

void ElasticReport::log_line(const ElasticFigures& now, std::int64_t blocks, TimeNs time) {
  const std::uint64_t to_cache = now.moves_to_cache - last_.moves_to_cache;
  const std::uint64_t to_experts = now.moves_to_experts - last_.moves_to_experts;
  if (to_cache + to_experts == 0) return;
  if (last_line_ >= 0 && time - last_line_ < kLineEveryNs) return;
  char text[200];
  std::snprintf(text, sizeof text,
                "elastic memory: %lld KV blocks (%.3f GB) and %llu experts (%.3f GB) of %.3f GB, after %llu moves to "
                "the cache and %llu to experts",
                static_cast<long long>(blocks), static_cast<double>(now.cache_bytes) * 1e-9,
                static_cast<unsigned long long>(now.slots), static_cast<double>(now.expert_bytes) * 1e-9,
                static_cast<double>(now.budget_bytes) * 1e-9, static_cast<unsigned long long>(to_cache),
                static_cast<unsigned long long>(to_experts));
  log_info(text);
  last_ = now;
  last_line_ = time;
}

}  // namespace foregate
