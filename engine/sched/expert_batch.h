// Expert-aware batch forming, after Read-ME (arXiv 2410.19123): among the sequences that could decode, those whose
// experts are in memory, or are loaded for others of the step, run now; one that would have the step wait for loads of
// its own may be held back, for a bounded number of steps. What is held back, and whether anything is, follows from
// measured times alone. Pure; any thread. It changes when a token is computed, never which.
//
// The bound: a sequence is held back in at most `max_held_back` steps in a row, and never the first in rank.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace foregate {

struct ExpertBatchView {
  std::span<const std::int32_t> experts;  // numbers of those that it will most likely use; empty: not known, it runs
  std::int32_t held_back = 0;             // steps in a row
};

struct ExpertBatchCost {
  double step_seconds = 0.0;  // of a step, but for waiting for experts
  double load_seconds = 0.0;  // of one expert
};

// Indices into `views`, which are best rank first, of those to hold back; ascending. `resident`: by expert number.
//
// Sequences join in the order of the loads that they add, fewest first. With n of them, M loads and a step of
// F + M * L seconds, one more with m loads gains tokens per second while (n + 1) / (F + (M + m) L) >= n / (F + M L),
// which is F + M L >= n m L.
std::vector<std::size_t> hold_back(std::span<const ExpertBatchView> views, std::span<const std::uint8_t> resident,
                                   const ExpertBatchCost& cost, std::int32_t max_held_back);

}  // namespace foregate
