// A feed-forward block that every row passes: dense layers, and the shared expert of MoE layers.
#pragma once

#include "engine/model/model_weights.h"
#include "engine/model/step.h"

namespace foregate {

// out [rows, hidden] = FFN(scratch.normed)
void run_dense_ffn(const Step& step, const ExpertWeights& weights, View2<float> out);

}  // namespace foregate
