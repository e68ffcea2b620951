// Which pieces an attention call is cut into. Pure: the same arguments, the same plan; a plan changes no bit of the
// result.
#pragma once

#include <vector>

#include "kernels/cuda/attention.h"

namespace foregate::cuda {

struct AttentionPlan {
  int tiles = 1;  // of eight columns, per piece
  std::vector<AttentionPiece> pieces;
  std::vector<AttentionMerge> merges;
  std::vector<std::int32_t> tables;
  std::int32_t slots = 0;
};

// Segments run side by side where otherwise fewer than `enough_blocks` blocks would.
AttentionPlan plan_attention(const AttentionArgs& args, std::int64_t enough_blocks);

}  // namespace foregate::cuda
