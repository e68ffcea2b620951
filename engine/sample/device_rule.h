// Which rows of logits a device may sample, and how: those whose logits nobody has to see or to change first. Pure.
#pragma once

#include <optional>

#include "engine/sample/sampler.h"
#include "kernels/api/args_sample.h"

namespace foregate {

// `input` as Sampler::sample() takes it, without logits; `ahead` tokens that are not in its output yet come before the
// one that is sampled. None where parameters change the row (masks, biases, penalties) or ask for log-probabilities.
std::optional<SampleRule> device_rule(const SampleInput& input, std::int32_t ahead);

}  // namespace foregate
