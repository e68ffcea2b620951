#include "engine/model/dense_ffn.h"

namespace foregate {

void run_dense_ffn(const Step& step, const ExpertWeights& weights, View2<float> out) {
  const std::int32_t* rows = step.scratch.identity.data();
  const ExpertGroup all{
      .weights = weights, .x_rows = rows, .out_rows = rows, .rows = static_cast<std::int32_t>(step.rows)};
  step.ops.expert_ffn(step.stream, ExpertFfnArgs{.x = step.block_in(),
                                                 .y = out,
                                                 .groups = &all,
                                                 .num_groups = 1,
                                                 .activation = step.config.activation,
                                                 .scratch = step.scratch.ffn_inner});
}

}  // namespace foregate
