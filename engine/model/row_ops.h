// What a step does between its blocks, for whoever runs layers: the transformer, and rows that are on another rank.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/model/step.h"

namespace foregate {

// scratch.normed = norm(hidden + delta), and hidden takes the sum; with `first` there is no delta yet.
void add_and_norm(const Step& step, const float* weight, bool first);
// scratch.cos and scratch.sin of `positions`, one row each, made on the host; `frequencies`: of each rope of the
// config.
void load_ropes(const ModelConfig& config, const std::vector<std::vector<float>>& frequencies,
                std::span<const std::int32_t> positions, StepScratch& scratch, Stream& stream);
std::vector<std::vector<float>> rope_frequencies_of(const ModelConfig& config);

}  // namespace foregate
