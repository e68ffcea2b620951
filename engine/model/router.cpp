#include "engine/model/router.h"

namespace foregate {

void Router::route(const OpTable& ops, Stream& stream, View2<const float> x, float* logits, std::int32_t* ids,
                   float* weights) const {
  const View2<float> scores{logits, x.rows, rule.experts, rule.experts};
  ops.linear(stream, LinearArgs{.weight = gate, .bias = logit_bias, .x = x, .y = scores});
  ops.router_topk(stream, RouterTopkArgs{.rule = rule,
                                         .logits = {scores.data, scores.rows, scores.cols, scores.stride},
                                         .selection_bias = selection_bias,
                                         .ids = ids,
                                         .weights = weights});
}

}  // namespace foregate
