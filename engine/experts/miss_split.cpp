#include "engine/experts/miss_split.h"

#include <algorithm>
#include <cstddef>
#include <numeric>

namespace foregate {

std::optional<MissRule> miss_rule_named(std::string_view word) {
  if (word == "fetch") return MissRule::kFetch;
  if (word == "cpu") return MissRule::kCompute;
  if (word == "auto") return MissRule::kAuto;
  return std::nullopt;
}

std::vector<bool> split_misses(std::span<const Miss> misses) {
  std::vector<bool> on_host(misses.size(), false);
  const auto unknown = [](const Miss& miss) { return !(miss.fetch_seconds > 0) || !(miss.compute_seconds > 0); };
  if (std::any_of(misses.begin(), misses.end(), unknown)) return on_host;
  std::vector<std::size_t> order(misses.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&misses](std::size_t a, std::size_t b) {
    return misses[a].compute_seconds > misses[b].compute_seconds;
  });
  double link = 0.0;
  double host = 0.0;
  for (const std::size_t i : order) {
    const Miss& miss = misses[i];
    on_host[i] = host + miss.compute_seconds < link + miss.fetch_seconds;
    (on_host[i] ? host : link) += on_host[i] ? miss.compute_seconds : miss.fetch_seconds;
  }
  return on_host;
}

}  // namespace foregate
