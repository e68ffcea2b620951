// Router: score the logits, keep the best groups, choose top-k, weigh the chosen. All in f32, one
// item per token; see RouterRule in kernels/api/args_moe.h.

struct RouterJob {
  const RouterTopkArgs& args;

  static std::int64_t worker_bytes(const RouterRule& rule) {
    return (3 * static_cast<std::int64_t>(rule.experts) + rule.groups) * static_cast<std::int64_t>(sizeof(float)) + 512;
  }

  void item(std::int64_t t, std::byte* memory) const {
    const RouterRule& rule = args.rule;
    Carver carver(memory);
    float* scores = carver.take<float>(rule.experts);
    float* choice = carver.take<float>(rule.experts);
    std::uint8_t* open = carver.take<std::uint8_t>(rule.experts);
    float* groups = carver.take<float>(rule.groups);
    const float* logits = args.logits.data + t * args.logits.stride;
    score(logits, scores);
    for (std::int32_t e = 0; e < rule.experts; ++e) {
      choice[e] = args.selection_bias != nullptr ? scores[e] + args.selection_bias[e] : scores[e];
      open[e] = 1;
    }
    if (rule.groups > 1) close_groups(choice, open, groups);
    std::int32_t* ids = args.ids + t * rule.top_k;
    for (std::int32_t s = 0; s < rule.top_k; ++s) {
      ids[s] = largest_open(choice, open, 0, rule.experts);
      open[ids[s]] = 0;
    }
    weigh(logits, scores, ids, args.weights + t * rule.top_k);
  }

  void score(const float* logits, float* scores) const {
    const std::int64_t experts = args.rule.experts;
    switch (args.rule.score) {
      case RouterScore::kIdentity:
        for (std::int64_t e = 0; e < experts; ++e) scores[e] = logits[e];
        break;
      case RouterScore::kSigmoid:
        for (std::int64_t e = 0; e < experts; ++e) scores[e] = logits[e];
        sigmoids(scores, experts);
        break;
      case RouterScore::kSqrtSoftplus:
        for (std::int64_t e = 0; e < experts; ++e) {
          const double x = logits[e];
          const double softplus = x > 0 ? x + __builtin_log1p(__builtin_exp(-x)) : __builtin_log1p(__builtin_exp(x));
          scores[e] = static_cast<float>(__builtin_sqrt(softplus));
        }
        break;
      case RouterScore::kSoftmax: softmax(logits, experts, scores); break;
    }
  }

  static void sigmoids(float* values, std::int64_t count) {
    for (std::int64_t i = 0; i < count; i += kLanes) {
      store_part(values + i, sigmoid(load_part(values + i, count - i)), count - i);
    }
  }

  static void softmax(const float* logits, std::int64_t count, float* out) {
    float top = logits[0];
    for (std::int64_t e = 1; e < count; ++e) top = logits[e] > top ? logits[e] : top;
    V total = zero();
    for (std::int64_t e = 0; e < count; e += kLanes) {
      float part[kLanes];
      for (std::int64_t i = 0; i < kLanes; ++i) part[i] = e + i < count ? logits[e + i] : -__builtin_inff();
      const V p = exp(sub(load(part), splat(top)));
      total = add(total, p);
      store_part(out + e, p, count - e);
    }
    const V sum = splat(reduce_add(total));
    for (std::int64_t e = 0; e < count; e += kLanes) {
      store_part(out + e, div(load_part(out + e, count - e), sum), count - e);
    }
  }

  // Ties go to the lower index; a NaN is only taken when it comes first, and never twice.
  static std::int32_t largest_open(const float* values, const std::uint8_t* open, std::int32_t first,
                                   std::int32_t end) {
    std::int32_t best = -1;
    for (std::int32_t i = first; i < end; ++i) {
      if (open[i] != 0 && (best < 0 || values[i] > values[best])) best = i;
    }
    return best;
  }

  void close_groups(const float* choice, std::uint8_t* open, float* groups) const {
    const RouterRule& rule = args.rule;
    const std::int32_t size = rule.experts / rule.groups;
    for (std::int32_t g = 0; g < rule.groups; ++g) {
      const std::int32_t best = largest_open(choice, open, g * size, (g + 1) * size);
      groups[g] = choice[best];
      if (rule.group_rule != GroupRule::kTopTwoSum || size < 2) continue;
      open[best] = 0;
      groups[g] += choice[largest_open(choice, open, g * size, (g + 1) * size)];
      open[best] = 1;
    }
    // A group is kept when fewer than groups_kept groups come before it.
    for (std::int32_t g = 0; g < rule.groups; ++g) {
      std::int32_t before = 0;
      for (std::int32_t o = 0; o < rule.groups; ++o) {
        before += groups[o] > groups[g] || (o < g && !(groups[g] > groups[o])) ? 1 : 0;
      }
      if (before < rule.groups_kept) continue;
      for (std::int32_t e = g * size; e < (g + 1) * size; ++e) open[e] = 0;
    }
  }

  void weigh(const float* logits, const float* scores, const std::int32_t* ids, float* weights) const {
    const RouterRule& rule = args.rule;
    const bool of_selected =
        rule.weights == RouterWeights::kSoftmaxOfSelected || rule.weights == RouterWeights::kSigmoidOfSelected;
    // Of the logits of the selected, whatever the score that ranked them.
    for (std::int32_t s = 0; s < rule.top_k; ++s) weights[s] = of_selected ? logits[ids[s]] : scores[ids[s]];
    if (rule.weights == RouterWeights::kSigmoidOfSelected) sigmoids(weights, rule.top_k);
    float total = 1.0f;
    if (rule.weights == RouterWeights::kSoftmaxOfSelected) {
      softmax(weights, rule.top_k, weights);
    } else if (rule.weights != RouterWeights::kRaw) {
      total = 0.0f;
      for (std::int32_t s = 0; s < rule.top_k; ++s) total += weights[s];
      total += rule.renormalize_eps;
    }
    for (std::int32_t s = 0; s < rule.top_k; ++s) weights[s] = weights[s] / total * rule.scale;
  }
};

inline void router_topk(Stream& stream, const RouterTopkArgs& args) {
  const RouterRule& rule = args.rule;
  CHECK(rule.groups >= 1 && rule.experts % rule.groups == 0);
  CHECK(rule.top_k <= rule.experts / rule.groups * (rule.groups > 1 ? rule.groups_kept : 1));
  OpRun op(stream);
  op.reserve(0, RouterJob::worker_bytes(rule));
  RouterJob job{args};
  op.run(job, args.logits.rows, args.logits.rows * rule.experts * (8 + rule.top_k));
}
