#include "engine/sample/logprobs.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace foregate {

double log_sum_exp(std::span<const float> logits) {
  const double highest = *std::max_element(logits.begin(), logits.end());
  double sum = 0.0;
  for (float logit : logits) sum += std::exp(static_cast<double>(logit) - highest);
  return highest + std::log(sum);
}

PositionLogprobs position_logprobs(std::span<const float> logits, Token chosen, std::int32_t top) {
  const double total = log_sum_exp(logits);
  const auto entry = [&](Token id) {
    return TokenLogprob{id, static_cast<float>(static_cast<double>(logits[static_cast<std::size_t>(id)]) - total)};
  };
  PositionLogprobs result;
  result.chosen = entry(chosen);
  const float own = logits[static_cast<std::size_t>(chosen)];
  std::int32_t before = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    before += logits[i] > own || (logits[i] == own && static_cast<Token>(i) < chosen) ? 1 : 0;
  }
  result.rank = before + 1;
  const auto count = std::min(static_cast<std::size_t>(std::max(top, 0)), logits.size());
  if (count == 0) return result;
  std::vector<Token> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  const auto better = [&](Token a, Token b) {
    const float x = logits[static_cast<std::size_t>(a)];
    const float y = logits[static_cast<std::size_t>(b)];
    return x != y ? x > y : a < b;
  };
  std::partial_sort(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(count), ids.end(), better);
  for (std::size_t i = 0; i < count; ++i) result.top.push_back(entry(ids[i]));
  return result;
}

}  // namespace foregate
