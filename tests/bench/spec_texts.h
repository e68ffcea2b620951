// Prompts of the programs that compare speculation with plain decoding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "engine/base/rng.h"

namespace foregate {

// So many random words.
inline std::string random_words(std::uint64_t seed, int words) {
  static const char* const kWords[] = {"the",   "little", "dog",   "cat",  "bird", "tree", "house", "river",
                                       "stone", "red",    "old",   "kind", "went", "saw",  "found", "took",
                                       "gave",  "ran",    "asked", "said", "and",  "then", "but",   "one",
                                       "day",   "in",     "on",    "by",   "with", "his",  "her",   "happy"};
  constexpr std::size_t kCount = sizeof kWords / sizeof *kWords;
  std::string text;
  for (int i = 0; i < words; ++i) {
    const double draw = uniform01(seed, 9, static_cast<std::uint64_t>(i));
    text += std::string(i == 0 ? "" : " ") + kWords[static_cast<std::size_t>(draw * kCount)];
  }
  return text;
}

}  // namespace foregate
