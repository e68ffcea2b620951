// Paged attention as the kernels see it: pieces of work, what they leave behind, and the launches. Device pointers
// throughout.
//
// Query vectors that read one kv head are columns: column c of a sequence is row c / group, head c % group of it, where
// `group` is heads / kv_heads. A piece is up to 8 * tiles columns against segments of kSegment absolute positions.
// Inside a segment position p belongs to warp p / 16 % kAttentionWarps, whose own softmax takes sixteen positions a
// time; warps are merged in order, and segments in ascending order. So a row's bits depend on its own positions alone,
// whether segments run one after another in a block or side by side.
#pragma once

#include "kernels/api/args_attention.h"
#include "kernels/cuda/cuda_stream.h"

namespace foregate::cuda {

inline constexpr int kAttentionWarps = 4;
inline constexpr int kAttentionThreads = 32 * kAttentionWarps;
inline constexpr int kKeyTile = 16;  // positions of one matrix instruction
inline constexpr int kSegment = 512;
inline constexpr int kMaxHeadDim = 256;

struct AttentionPiece {
  std::int32_t first_row;       // of the sequence in q and out
  std::int32_t first_position;  // of that row
  std::int32_t last_position;   // of the sequence in this step
  std::int32_t table;           // of its block table in the list of tables
  std::int32_t column;          // first of the piece
  std::int32_t columns;
  std::int32_t segment;  // first
  std::int32_t segments;
  std::int32_t slot;  // of its partial results; -1: it has all segments and writes the output
};

// Sequences of partial results that become output: slots [slot, slot + segments) hold the same columns.
struct AttentionMerge {
  std::int32_t first_row;
  std::int32_t column;
  std::int32_t columns;
  std::int32_t slot;
  std::int32_t segments;
};

struct AttentionLaunch {
  AttentionArgs args;  // seqs is not read
  std::int32_t group = 1;
  const AttentionPiece* pieces = nullptr;
  std::int32_t num_pieces = 0;
  const AttentionMerge* merges = nullptr;
  std::int32_t num_merges = 0;
  const std::int32_t* tables = nullptr;
  float* partial = nullptr;  // [slot, kv head][8 * tiles] of {max, sum, head_dim values}
};

// Tiles of a piece with many columns, by head_dim: the accumulators of a warp are to fit in its registers.
constexpr int attention_tiles(int head_dim) {
  return head_dim <= 64 ? 4 : head_dim <= 128 ? 2 : 1;
}
void launch_attention(CudaStream& stream, const AttentionLaunch& launch, int tiles);

}  // namespace foregate::cuda
