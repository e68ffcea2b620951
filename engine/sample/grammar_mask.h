// The mask that a grammar lays over a row of logits. Pure.
#pragma once

#include <cstdint>
#include <span>

namespace foregate {

// Minus infinity wherever the bit of a token is not set, and for ids that have no bit.
void apply_mask(std::span<float> logits, std::span<const std::uint64_t> allowed);

}  // namespace foregate
