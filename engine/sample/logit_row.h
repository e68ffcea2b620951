// Passes over one row of logits, written so that a compiler vectorizes them for the baseline instruction set: the same
// results on every machine. Rows are cut into blocks of kLogitBlock values (the last may be shorter); a few facts per
// block save later passes from reading the whole row again. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace foregate {

inline constexpr std::size_t kLogitBlock = 64;

bool all_finite(std::span<const float> logits);

// The greatest value of each block; no value may be NaN.
void block_maxima(std::span<const float> logits, std::vector<float>& maxima);

// The lowest index of the greatest value. `maxima` are the row's block maxima; the row is not empty.
std::size_t first_greatest(std::span<const float> logits, std::span<const float> maxima);

// Indices of the values that are at least `least`, ascending.
void at_least(std::span<const float> logits, std::span<const float> maxima, float least,
              std::vector<std::int32_t>& indices);

// Indices, ascending, of the k greatest values and of all that equal the k-th; k >= 1.
void greatest_with_ties(std::span<const float> logits, std::span<const float> maxima, std::size_t k,
                        std::vector<std::int32_t>& indices);

// weights[i] = exp((logits[i] - highest) * scale), relative error below 1e-6 x (1 + |exponent|), and 0 below e^-87;
// sums: of each block. `highest` is the greatest logit, scale > 0. Both vectors are resized.
void exp_weights(std::span<const float> logits, float highest, float scale, std::vector<float>& weights,
                 std::vector<double>& sums);

}  // namespace foregate
