#include "engine/sample/grammar_mask.h"

#include <algorithm>
#include <limits>

namespace foregate {

void apply_mask(std::span<float> logits, std::span<const std::uint64_t> allowed) {
  constexpr float kNever = -std::numeric_limits<float>::infinity();
  const std::size_t words = std::min(allowed.size(), (logits.size() + 63) / 64);
  for (std::size_t word = 0; word < words; ++word) {
    const std::uint64_t bits = allowed[word];
    const std::size_t first = word * 64, count = std::min<std::size_t>(64, logits.size() - first);
    if (bits == ~std::uint64_t{0}) continue;
    for (std::size_t i = 0; i < count; ++i) logits[first + i] = (bits >> i & 1) != 0 ? logits[first + i] : kNever;
  }
  if (words * 64 < logits.size())
    std::fill(logits.begin() + static_cast<std::ptrdiff_t>(words * 64), logits.end(), kNever);
}

}  // namespace foregate
