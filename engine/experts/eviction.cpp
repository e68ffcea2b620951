#include "engine/experts/eviction.h"

#include <array>
#include <cmath>

#include "engine/experts/eviction_policies.h"

namespace foregate {
namespace {

struct Named {
  std::string_view name;
  std::unique_ptr<EvictionPolicy> (*make)(const EvictionOptions& options);
};

constexpr std::array kPolicies = {Named{"lru", make_lru_policy}, Named{"lfu", make_lfu_policy},
                                  Named{"score", make_score_policy}, Named{"auto", make_auto_policy},
                                  Named{"belady", make_belady_policy}};
constexpr std::array kNames = {kPolicies[0].name, kPolicies[1].name, kPolicies[2].name, kPolicies[3].name,
                               kPolicies[4].name};

Status check_options(std::string_view name, const EvictionOptions& options) {
  for (const std::int32_t experts : options.experts) {
    if (experts < 0) return invalid_argument("a layer has " + std::to_string(experts) + " experts", "experts");
  }
  if (options.top_k < 1) return invalid_argument("must be at least 1", "top_k");
  if (!std::isfinite(options.half_life_tokens) || options.half_life_tokens < 1) {
    return invalid_argument("must be at least 1", "half_life_tokens");
  }
  if (!options.expert_bytes.empty() && options.expert_bytes.size() != options.experts.size()) {
    return invalid_argument("must be of every layer", "expert_bytes");
  }
  if (name == "belady" && options.future == nullptr) {
    return invalid_argument("belady is for replays only: it needs the future", "policy");
  }
  if (options.counters == nullptr || options.counters->empty()) return {};
  const std::vector<std::vector<float>>& rates = options.counters->rates;
  bool same = rates.size() == options.experts.size();
  for (std::size_t i = 0; same && i < rates.size(); ++i) {
    same = rates[i].size() == static_cast<std::size_t>(options.experts[i]);
  }
  return same ? Status() : invalid_argument("they are of a model of another shape", "counters");
}

}  // namespace

LayerUse CountedUse::of(const LayerUse& use) {
  if (use.drafted_rows.empty()) return use;
  experts_.clear();
  rows_.clear();
  decode_rows_.clear();
  for (std::size_t i = 0; i < use.experts.size(); ++i) {
    const std::int32_t rows = use.rows[i] - use.drafted_rows[i];
    if (rows <= 0) continue;
    experts_.push_back(use.experts[i]);
    rows_.push_back(rows);
    if (!use.decode_rows.empty()) decode_rows_.push_back(use.decode_rows[i] - use.drafted_rows[i]);
  }
  return {.step = use.step,
          .layer = use.layer,
          .phase = use.phase,
          .experts = experts_,
          .rows = rows_,
          .decode_rows = decode_rows_};
}

Result<std::unique_ptr<EvictionPolicy>> make_eviction_policy(std::string_view name, const EvictionOptions& options) {
  for (const Named& policy : kPolicies) {
    if (policy.name != name) continue;
    RETURN_IF_ERROR(check_options(name, options));
    return policy.make(options);
  }
  return invalid_argument("there is no policy \"" + std::string(name) + "\" (auto, lru, lfu, score, belady)", "policy");
}

std::span<const std::string_view> eviction_policy_names() {
  return kNames;
}

}  // namespace foregate
