#include "kernels/cuda/attention_plan.h"

#include <algorithm>

#include "kernels/api/check.h"
#include "kernels/cuda/cuda_ops.h"

namespace foregate::cuda {
namespace {

constexpr std::int64_t kEnoughBlocks = 512;  // a few for each multiprocessor of a large GPU

std::int32_t first_needed(const AttentionArgs& args, std::int32_t position) {
  return args.window > 0 ? std::max(0, position - args.window + 1) : 0;
}

// Blocks of the whole call if no segment runs beside another.
std::int64_t blocks_unsplit(const AttentionArgs& args, std::int32_t group, std::int32_t piece_columns) {
  std::int64_t blocks = 0;
  for (std::int32_t s = 0; s < args.num_seqs; ++s) {
    blocks += (static_cast<std::int64_t>(args.seqs[s].rows) * group + piece_columns - 1) / piece_columns;
  }
  return blocks * args.pages.kv_heads;
}

void add_pieces(const AttentionArgs& args, const SeqSpan& seq, std::int32_t group, std::int32_t table, bool split,
                AttentionPlan& plan) {
  const std::int32_t columns = seq.rows * group;
  const std::int32_t most = plan.tiles * 8;
  for (std::int32_t column = 0; column < columns; column += most) {
    AttentionPiece piece = {};
    piece.first_row = seq.first_row;
    piece.first_position = seq.first_position;
    piece.last_position = seq.first_position + seq.rows - 1;
    piece.table = table;
    piece.column = column;
    piece.columns = std::min(most, columns - column);
    const std::int32_t last_row = (column + piece.columns - 1) / group;
    piece.segment = first_needed(args, seq.first_position + column / group) / kSegment;
    piece.segments = (seq.first_position + last_row) / kSegment - piece.segment + 1;
    piece.slot = -1;
    if (!split || piece.segments == 1) {
      plan.pieces.push_back(piece);
      continue;
    }
    plan.merges.push_back({seq.first_row, column, piece.columns, plan.slots, piece.segments});
    const std::int32_t end = piece.segment + piece.segments;
    piece.segments = 1;
    for (; piece.segment < end; ++piece.segment) {
      piece.slot = plan.slots++;
      plan.pieces.push_back(piece);
    }
  }
}

}  // namespace

AttentionPlan plan_attention(const AttentionArgs& args, std::int64_t enough_blocks) {
  AttentionPlan plan;
  const std::int32_t group = args.heads / args.pages.kv_heads;
  std::int32_t most_rows = 0;
  for (std::int32_t s = 0; s < args.num_seqs; ++s) most_rows = std::max(most_rows, args.seqs[s].rows);
  plan.tiles = most_rows * group <= 8 ? 1 : attention_tiles(args.pages.head_dim);
  const bool split = blocks_unsplit(args, group, plan.tiles * 8) < enough_blocks;
  for (std::int32_t s = 0; s < args.num_seqs; ++s) {
    const SeqSpan& seq = args.seqs[s];
    CHECK(seq.tail_slots == nullptr);  // trees of tokens are refused at boot
    const auto table = static_cast<std::int32_t>(plan.tables.size());
    const std::int32_t blocks = (seq.first_position + seq.rows - 1) / args.pages.block_size + 1;
    plan.tables.insert(plan.tables.end(), seq.block_table, seq.block_table + blocks);
    add_pieces(args, seq, group, table, split, plan);
  }
  return plan;
}

void attention(Stream& stream, const AttentionArgs& args) {
  CudaStream& cuda = cuda_stream(stream);
  CHECK(args.pages.head_dim <= kMaxHeadDim && args.heads % args.pages.kv_heads == 0);
  const AttentionPlan plan = plan_attention(args, kEnoughBlocks);
  std::vector<std::byte> bytes;
  const auto put = [&](const auto& list) {
    const auto* begin = reinterpret_cast<const std::byte*>(list.data());
    bytes.insert(bytes.end(), begin, begin + list.size() * sizeof(list[0]));
  };
  put(plan.pieces);
  put(plan.merges);
  put(plan.tables);
  AttentionLaunch launch;
  launch.args = args;
  launch.args.seqs = nullptr;  // the host's: kernels have the pieces
  launch.group = args.heads / args.pages.kv_heads;
  launch.num_pieces = static_cast<std::int32_t>(plan.pieces.size());
  launch.num_merges = static_cast<std::int32_t>(plan.merges.size());
  launch.pieces = reinterpret_cast<const AttentionPiece*>(
      cuda.stage(ControlList::kSequences, bytes.data(), static_cast<std::int64_t>(bytes.size())));
  if (launch.pieces == nullptr) return;
  launch.merges = reinterpret_cast<const AttentionMerge*>(launch.pieces + launch.num_pieces);
  launch.tables = reinterpret_cast<const std::int32_t*>(launch.merges + launch.num_merges);
  const std::int64_t columns = plan.tiles * 8;
  const std::int64_t floats = plan.slots * args.pages.kv_heads * columns * (args.pages.head_dim + 2);
  launch.partial = reinterpret_cast<float*>(cuda.reserve(static_cast<std::size_t>(floats) * sizeof(float)));
  launch_attention(cuda, launch, plan.tiles);
}

}  // namespace foregate::cuda
