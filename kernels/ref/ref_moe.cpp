#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "kernels/api/check.h"
#include "kernels/ref/element.h"
#include "kernels/ref/ref_ops.h"

namespace foregate::ref {
namespace {

std::vector<float> score_logits(RouterScore rule, const float* logits, std::int32_t experts) {
  std::vector<double> scores(logits, logits + experts);
  switch (rule) {
    case RouterScore::kIdentity: break;
    case RouterScore::kSigmoid:
      for (double& s : scores) s = 1.0 / (1.0 + std::exp(-s));
      break;
    case RouterScore::kSqrtSoftplus:
      for (double& s : scores) s = std::sqrt(s > 0 ? s + std::log1p(std::exp(-s)) : std::log1p(std::exp(s)));
      break;
    case RouterScore::kSoftmax: {
      const double top = *std::max_element(scores.begin(), scores.end());
      double total = 0;
      for (double& s : scores) total += s = std::exp(s - top);
      for (double& s : scores) s /= total;
      break;
    }
  }
  return {scores.begin(), scores.end()};
}

// Those `count` of `candidates` with the largest values, largest first; ties go to the lower index,
// and a NaN never leaves the set of candidates.
std::vector<std::int32_t> largest(const std::vector<float>& values, std::vector<std::int32_t> candidates,
                                  std::int32_t count) {
  std::vector<std::int32_t> chosen;
  while (static_cast<std::int32_t>(chosen.size()) < count) {
    std::size_t best = 0;
    for (std::size_t i = 1; i < candidates.size(); ++i) {
      if (values[candidates[i]] > values[candidates[best]]) best = i;
    }
    chosen.push_back(candidates[best]);
    candidates.erase(candidates.begin() + static_cast<std::ptrdiff_t>(best));
  }
  return chosen;
}

std::vector<std::int32_t> indices(std::int32_t count) {
  std::vector<std::int32_t> all(count);
  std::iota(all.begin(), all.end(), 0);
  return all;
}

float group_score(GroupRule rule, const float* choice, std::int32_t size) {
  const std::vector<float> values(choice, choice + size);
  const std::vector<std::int32_t> top = largest(values, indices(size), std::min(size, 2));
  return rule == GroupRule::kTopTwoSum && size > 1 ? values[top[0]] + values[top[1]] : values[top[0]];
}

// Experts that may be chosen: those of the best groups, by falling choice score.
std::vector<std::int32_t> choose(const RouterRule& rule, const std::vector<float>& choice) {
  if (rule.groups <= 1) return largest(choice, indices(rule.experts), rule.top_k);
  const std::int32_t size = rule.experts / rule.groups;
  std::vector<float> groups;
  for (std::int32_t g = 0; g < rule.groups; ++g) {
    groups.push_back(group_score(rule.group_rule, choice.data() + g * size, size));
  }
  std::vector<std::int32_t> allowed;
  for (const std::int32_t g : largest(groups, indices(rule.groups), rule.groups_kept)) {
    for (std::int32_t e = 0; e < size; ++e) allowed.push_back(g * size + e);
  }
  std::sort(allowed.begin(), allowed.end());
  return largest(choice, allowed, rule.top_k);
}

double activate(Activation activation, double x) {
  constexpr double kSqrtHalf = 0.70710678118654752440;
  constexpr double kSqrtTwoOverPi = 0.79788456080286535588;
  switch (activation) {
    case Activation::kSilu: return x / (1.0 + std::exp(-x));
    case Activation::kGelu: return 0.5 * x * (1.0 + std::erf(x * kSqrtHalf));
    case Activation::kGeluTanh: return 0.5 * x * (1.0 + std::tanh(kSqrtTwoOverPi * (x + 0.044715 * x * x * x)));
    case Activation::kRelu: return x < 0 ? 0 : x;
  }
  return x;
}

// weight * x for every output.
std::vector<double> product(const PackedWeight& weight, const std::vector<float>& x) {
  const std::vector<double> row = activation_row(weight.format, x.data(), weight.cols);
  std::vector<double> out;
  for (std::int64_t n = 0; n < weight.rows; ++n) {
    const std::vector<float> weights = weight_row(weight, n);
    out.push_back(std::inner_product(weights.begin(), weights.end(), row.begin(), 0.0));
  }
  return out;
}

}  // namespace

void router_topk(Stream&, const RouterTopkArgs& args) {
  const RouterRule& rule = args.rule;
  CHECK(rule.groups >= 1 && rule.experts % rule.groups == 0);
  CHECK(rule.top_k <= rule.experts / rule.groups * (rule.groups > 1 ? rule.groups_kept : 1));
  for (std::int64_t t = 0; t < args.logits.rows; ++t) {
    const float* logits = args.logits.data + t * args.logits.stride;
    const std::vector<float> scores = score_logits(rule.score, logits, rule.experts);
    std::vector<float> choice = scores;
    if (args.selection_bias != nullptr) {
      for (std::int32_t e = 0; e < rule.experts; ++e) choice[e] += args.selection_bias[e];
    }
    const std::vector<std::int32_t> chosen = choose(rule, choice);
    std::vector<double> weights;
    for (const std::int32_t e : chosen) {
      // What is said of the selected is taken of their logits, whatever the score that ranked them.
      const double logit = logits[e];
      const bool softmax = rule.weights == RouterWeights::kSoftmaxOfSelected;
      const bool sigmoid = rule.weights == RouterWeights::kSigmoidOfSelected;
      weights.push_back(softmax ? logit : sigmoid ? 1 / (1 + std::exp(-logit)) : scores[e]);
    }
    if (rule.weights == RouterWeights::kSoftmaxOfSelected) {
      const double top = *std::max_element(weights.begin(), weights.end());
      for (double& w : weights) w = std::exp(w - top);
    }
    double total = 0;
    for (const double w : weights) total += w;
    const bool of_sum =
        rule.weights == RouterWeights::kRenormalize || rule.weights == RouterWeights::kSigmoidOfSelected;
    if (of_sum) total += rule.renormalize_eps;
    if (rule.weights == RouterWeights::kRaw) total = 1.0;
    for (std::int32_t s = 0; s < rule.top_k; ++s) {
      args.ids[t * rule.top_k + s] = chosen[s];
      args.weights[t * rule.top_k + s] = static_cast<float>(weights[s] / total * rule.scale);
    }
  }
}

void expert_ffn(Stream&, const ExpertFfnArgs& args) {
  for (std::int32_t g = 0; g < args.num_groups; ++g) {
    const ExpertGroup& group = args.groups[g];
    const ExpertWeights& w = group.weights;
    std::vector<float> hidden(w.gate.rows);
    for (std::int32_t i = 0; i < group.rows; ++i) {
      CHECK(group.x_rows[i] >= 0 && group.x_rows[i] < args.x.rows);
      CHECK(group.out_rows[i] >= 0 && group.out_rows[i] < args.y.rows);
      const float* from = args.x.data + group.x_rows[i] * args.x.stride;
      const std::vector<float> x(from, from + args.x.cols);
      const std::vector<double> gate = product(w.gate, x);
      const std::vector<double> up = product(w.up, x);
      for (std::int64_t n = 0; n < w.gate.rows; ++n) {
        hidden[n] = static_cast<float>(activate(args.activation, gate[n]) * up[n]);
      }
      const std::vector<double> down = product(w.down, hidden);
      float* y = args.y.data + group.out_rows[i] * args.y.stride;
      for (std::int64_t n = 0; n < w.down.rows; ++n) y[n] = static_cast<float>(down[n]);
    }
  }
}

void moe_combine(Stream&, const MoeCombineArgs& args) {
  for (std::int64_t t = 0; t < args.out.rows; ++t) {
    float* out = args.out.data + t * args.out.stride;
    for (std::int64_t c = 0; c < args.out.cols; ++c) {
      double sum = args.accumulate ? out[c] : 0.0;
      for (std::int32_t s = 0; s < args.top_k; ++s) {
        const std::int64_t assignment = t * args.top_k + s;
        sum += static_cast<double>(args.weights[assignment]) * args.y.data[assignment * args.y.stride + c];
      }
      out[c] = static_cast<float>(sum);
    }
  }
}

// One group an assignment.
void moe_ffn(Stream& stream, const MoeFfnArgs& args) {
  const DeviceExperts& table = args.experts;
  const auto assignments = static_cast<std::int32_t>(args.x.rows * args.top_k);
  std::vector<std::int32_t> x_rows, y_rows = indices(assignments);
  std::vector<ExpertGroup> groups;
  std::vector<bool> seen(static_cast<std::size_t>(table.experts), false);
  for (std::int32_t a = 0; a < assignments; ++a) x_rows.push_back(a / args.top_k);
  for (std::int32_t a = 0; a < assignments; ++a) {
    const std::int32_t e = args.ids[a];
    CHECK(e >= 0 && e < table.experts);
    seen[static_cast<std::size_t>(e)] = true;
    const ExpertWeights weights{{table.gate[e], table.gate_format, table.inner, args.x.cols},
                                {table.up[e], table.gate_format, table.inner, args.x.cols},
                                {table.down[e], table.down_format, args.x.cols, table.inner}};
    groups.push_back({weights, &x_rows[static_cast<std::size_t>(a)], &y_rows[static_cast<std::size_t>(a)], 1});
  }
  expert_ffn(stream, {args.x, args.y, groups.data(), assignments, args.activation, args.scratch});
  moe_combine(stream, {{args.y.data, args.y.rows, args.y.cols, args.y.stride}, args.weights, args.top_k, args.out});
  if (args.distinct != nullptr) *args.distinct = static_cast<std::int32_t>(std::count(seen.begin(), seen.end(), true));
}

}  // namespace foregate::ref
