// Attention over pages: a block takes a piece (attention.h) of one kv head. Keys and values go from their pages into
// registers; scores S^T = K * Q^T and outputs O^T += V^T * P^T are matrix instructions with columns as their N side.
#include "kernels/api/check.h"
#include "kernels/cuda/attention_tile.cuh"

namespace foregate::cuda {
namespace {

constexpr float kMinusInfinity = -3.0e38f;  // below every score; finite, so that differences are

template <int kWide, int kTiles>  // head_dim in units of 64
struct AttentionShared {
  static constexpr int kDims = 64 * kWide;
  static constexpr int kColumns = kTiles * kTileRows;
  uint4 query[kDims / kStepCols][kTiles][kWarpLanes];  // parts, as the B side
  float largest[kAttentionWarps][kColumns];
  float sum[kAttentionWarps][kColumns];
  float total_largest[kColumns];
  float total_sum[kColumns];
  float values[kAttentionWarps][kDims][kColumns];
  float total[kDims][kColumns];
};

// What a warp knows of its columns 8 t + 2 * (lane % 4) and the next one.
template <int kWide, int kTiles>
struct WarpState {
  float largest[kTiles][2];
  float sum[kTiles][2];  // of this lane's positions
  float values[kWide][4][kTiles][4];
};

template <DType T, int kWide, int kTiles>
__device__ __forceinline__ void load_query(const AttentionLaunch& launch, const AttentionPiece& piece,
                                           AttentionShared<kWide, kTiles>& shared) {
  constexpr int kItems = kWide * 4 * kTiles * kWarpLanes;
  const AttentionArgs& args = launch.args;
  for (int i = threadIdx.x; i < kItems; i += kAttentionThreads) {
    const int lane = i % kWarpLanes;
    const int tile = i / kWarpLanes % kTiles;
    const int step = i / kWarpLanes / kTiles;
    const int in_piece = tile * kTileRows + lane / 4;
    float v[4] = {};
    if (in_piece < piece.columns) {
      const int column = piece.column + in_piece;
      const std::int64_t row = piece.first_row + column / launch.group;
      const std::int64_t head = static_cast<std::int64_t>(blockIdx.y) * launch.group + column % launch.group;
      const float* q = args.q.data + row * args.q.stride + head * args.pages.head_dim;
      for (int e = 0; e < 4; ++e) {
        const int d = step * kStepCols + lane % 4 * 2 + e % 2 + e / 2 * 8;
        if (d < args.pages.head_dim) v[e] = q[d] * args.scale;
      }
    }
    const uint2 first = split_pair<T>(v[0], v[1]);
    const uint2 second = split_pair<T>(v[2], v[3]);
    shared.query[step][tile][lane] = make_uint4(first.x, second.x, first.y, second.y);
  }
}

// Scores of positions [first, first + 16): what a column may not see becomes minus infinity.
template <DType T, int kWide, int kTiles>
__device__ __forceinline__ void score_tile(const AttentionLaunch& launch, const AttentionPiece& piece,
                                           const SequencePages<T>& seq, const AttentionShared<kWide, kTiles>& shared,
                                           int first, float (&scores)[kTiles][4]) {
  const int lane = threadIdx.x % kWarpLanes;
  const int steps = (launch.args.pages.head_dim + kStepCols - 1) / kStepCols;
#pragma unroll 4
  for (int step = 0; step < steps; ++step) {
    KeyTile<T> keys;
    load_keys<T>(seq, first, step, keys);
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
      const uint4 q = shared.query[step][t][lane];
      const std::uint32_t high[2] = {q.x, q.y};
      const std::uint32_t low[2] = {q.z, q.w};
      mma_parts<T>(scores[t], keys.part, high, low);
    }
  }
#pragma unroll
  for (int t = 0; t < kTiles; ++t) {
    for (int c = 0; c < 4; ++c) {
      const int column = piece.column + t * kTileRows + lane % 4 * 2 + c % 2;
      const int row_position = piece.first_position + column / launch.group;
      const int position = first + 2 * (lane / 4) + c / 2;
      bool seen = position <= row_position && seq.exists(position);
      if (launch.args.window > 0) seen = seen && position > row_position - launch.args.window;
      if (!seen) scores[t][c] = kMinusInfinity;
    }
  }
}

// One step of the online softmax (arXiv 1805.02867) over sixteen positions; scores become weights.
template <int kWide, int kTiles>
__device__ __forceinline__ void soften(float (&scores)[kTiles][4], WarpState<kWide, kTiles>& state) {
#pragma unroll
  for (int t = 0; t < kTiles; ++t) {
    for (int c = 0; c < 2; ++c) {
      float largest = fmaxf(scores[t][c], scores[t][2 + c]);
      for (int lanes = 4; lanes < kWarpLanes; lanes *= 2) {
        largest = fmaxf(largest, __shfl_xor_sync(kFullWarp, largest, lanes));
      }
      largest = fmaxf(largest, state.largest[t][c]);
      const float shrink = __expf(state.largest[t][c] - largest);
      state.largest[t][c] = largest;
      for (int r = 0; r < 2; ++r) {
        float& score = scores[t][2 * r + c];
        score = score <= kMinusInfinity ? 0.0f : __expf(score - largest);
      }
      state.sum[t][c] = state.sum[t][c] * shrink + scores[t][c] + scores[t][2 + c];
      for (int w = 0; w < kWide; ++w) {
        for (int i = 0; i < 4; ++i) {
          state.values[w][i][t][c] *= shrink;
          state.values[w][i][t][2 + c] *= shrink;
        }
      }
    }
  }
}

// values += V^T * weights for positions [first, first + 16).
template <DType T, int kWide, int kTiles>
__device__ __forceinline__ void add_values(const SequencePages<T>& seq, int first, const float (&weights)[kTiles][4],
                                           WarpState<kWide, kTiles>& state) {
  const int lane = threadIdx.x % kWarpLanes;
  std::uint32_t high[kTiles][2], low[kTiles][2];
#pragma unroll
  for (int t = 0; t < kTiles; ++t) {
    for (int r = 0; r < 2; ++r) {
      const uint2 parts = split_pair<T>(weights[t][2 * r], weights[t][2 * r + 1]);
      high[t][r] = transposed(parts.x);
      low[t][r] = transposed(parts.y);
    }
  }
#pragma unroll
  for (int w = 0; w < kWide; ++w) {
    ValueRow<T> rows[4];
    for (int i = 0; i < 4; ++i) load_values<T>(seq, first + lane % 4 * 4 + i, 64 * w + lane / 4 * 8, rows[i]);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      KeyTile<T> values;
      value_tile<T>(rows, i, values);
#pragma unroll
      for (int t = 0; t < kTiles; ++t) mma_parts<T>(state.values[w][i][t], values.part, high[t], low[t]);
    }
  }
}

// A warp's share of a segment to shared memory: columns' largest score, sum of weights, weighted values.
template <int kWide, int kTiles>
__device__ __forceinline__ void keep_state(WarpState<kWide, kTiles>& state, AttentionShared<kWide, kTiles>& shared) {
  const int lane = threadIdx.x % kWarpLanes;
  const int warp = threadIdx.x / kWarpLanes;
#pragma unroll
  for (int t = 0; t < kTiles; ++t) {
    for (int c = 0; c < 2; ++c) {
      float sum = state.sum[t][c];
      for (int lanes = 4; lanes < kWarpLanes; lanes *= 2) sum += __shfl_xor_sync(kFullWarp, sum, lanes);
      const int column = t * kTileRows + lane % 4 * 2 + c;
      if (lane < 4) {
        shared.largest[warp][column] = state.largest[t][c];
        shared.sum[warp][column] = sum;
      }
      for (int w = 0; w < kWide; ++w) {
        for (int i = 0; i < 4; ++i) {
          const int d = 64 * w + lane / 4 * 8 + 2 * i;
          shared.values[warp][d][column] = state.values[w][i][t][c];
          shared.values[warp][d + 1][column] = state.values[w][i][t][2 + c];
        }
      }
    }
  }
}

// a and b of the same columns: weights of both parts of a merge, and what is the larger maximum.
struct MergeWeights {
  float first, second, largest;
};
__device__ __forceinline__ MergeWeights merge_weights(float first, float second) {
  const float largest = fmaxf(first, second);
  return {__expf(first - largest), __expf(second - largest), largest};
}

// Columns' running totals take in one segment: warps in order, then the segment.
template <int kWide, int kTiles>
__device__ __forceinline__ void merge_segment(const AttentionPiece& piece, int head_dim,
                                              AttentionShared<kWide, kTiles>& shared) {
  for (int i = threadIdx.x; i < piece.columns * head_dim; i += kAttentionThreads) {
    const int column = i % piece.columns;
    const int d = i / piece.columns;
    float largest = shared.largest[0][column];
    float value = shared.values[0][d][column];
    for (int w = 1; w < kAttentionWarps; ++w) {
      const MergeWeights by = merge_weights(largest, shared.largest[w][column]);
      value = value * by.first + shared.values[w][d][column] * by.second;
      largest = by.largest;
    }
    const MergeWeights by = merge_weights(shared.total_largest[column], largest);
    shared.total[d][column] = shared.total[d][column] * by.first + value * by.second;
  }
  __syncthreads();
  for (int column = threadIdx.x; column < piece.columns; column += kAttentionThreads) {
    float largest = shared.largest[0][column];
    float sum = shared.sum[0][column];
    for (int w = 1; w < kAttentionWarps; ++w) {
      const MergeWeights by = merge_weights(largest, shared.largest[w][column]);
      sum = sum * by.first + shared.sum[w][column] * by.second;
      largest = by.largest;
    }
    const MergeWeights by = merge_weights(shared.total_largest[column], largest);
    shared.total_sum[column] = shared.total_sum[column] * by.first + sum * by.second;
    shared.total_largest[column] = by.largest;
  }
  __syncthreads();
}

__device__ __forceinline__ float* out_at(const AttentionLaunch& launch, int first_row, int column) {
  const AttentionArgs& args = launch.args;
  const std::int64_t row = first_row + column / launch.group;
  const std::int64_t head = static_cast<std::int64_t>(blockIdx.y) * launch.group + column % launch.group;
  return args.out.data + row * args.out.stride + head * args.pages.head_dim;
}
// Of a slot and column: largest, sum, then values.
__device__ __forceinline__ float* partial_at(const AttentionLaunch& launch, int slot, int columns, int column) {
  const std::int64_t place = (static_cast<std::int64_t>(slot) * gridDim.y + blockIdx.y) * columns + column;
  return launch.partial + place * (launch.args.pages.head_dim + 2);
}

template <DType T, int kWide, int kTiles>
__device__ __forceinline__ void run_segment(const AttentionLaunch& launch, const AttentionPiece& piece,
                                            const SequencePages<T>& seq, int segment,
                                            AttentionShared<kWide, kTiles>& shared) {
  WarpState<kWide, kTiles> state = {};
  for (int t = 0; t < kTiles; ++t) state.largest[t][0] = state.largest[t][1] = kMinusInfinity;
  const int last_row = (piece.column + piece.columns - 1) / launch.group;
  const int last = min(piece.first_position + last_row, segment * kSegment + kSegment - 1);
  const int warp = threadIdx.x / kWarpLanes;
  for (int first = segment * kSegment + warp * kKeyTile; first <= last; first += kAttentionWarps * kKeyTile) {
    if (first + kKeyTile <= seq.low) continue;
    float scores[kTiles][4] = {};
    score_tile<T, kWide, kTiles>(launch, piece, seq, shared, first, scores);
    soften<kWide, kTiles>(scores, state);
    add_values<T, kWide, kTiles>(seq, first, scores, state);
  }
  keep_state<kWide, kTiles>(state, shared);
  __syncthreads();
  merge_segment<kWide, kTiles>(piece, launch.args.pages.head_dim, shared);
}

template <DType T, int kWide, int kTiles>
__global__ void __launch_bounds__(kAttentionThreads) attention_kernel(AttentionLaunch launch) {
  auto& shared = shared_block<AttentionShared<kWide, kTiles>>();
  const AttentionPiece piece = launch.pieces[blockIdx.x];
  const int head_dim = launch.args.pages.head_dim;
  const int window = launch.args.window;
  const int low = window > 0 ? max(0, piece.first_position - window + 1) : 0;
  const SequencePages<T> seq{launch.args.pages,
                             launch.tables + piece.table,
                             static_cast<int>(blockIdx.y),
                             low,
                             piece.last_position,
                             launch.args.pages.block_size % kKeyTile == 0};
  load_query<T, kWide, kTiles>(launch, piece, shared);
  for (int i = threadIdx.x; i < piece.columns; i += kAttentionThreads) {
    shared.total_largest[i] = kMinusInfinity;
    shared.total_sum[i] = 0;
  }
  for (int i = threadIdx.x; i < head_dim * piece.columns; i += kAttentionThreads) {
    shared.total[i / piece.columns][i % piece.columns] = 0;
  }
  __syncthreads();
  for (int s = 0; s < piece.segments; ++s) {
    run_segment<T, kWide, kTiles>(launch, piece, seq, piece.segment + s, shared);
  }
  for (int i = threadIdx.x; i < head_dim * piece.columns; i += kAttentionThreads) {
    const int d = i % head_dim;
    const int column = i / head_dim;
    const float value = shared.total[d][column];
    if (piece.slot < 0) {
      out_at(launch, piece.first_row, piece.column + column)[d] = value / shared.total_sum[column];
      continue;
    }
    float* partial = partial_at(launch, piece.slot, kTiles * kTileRows, column);
    partial[2 + d] = value;
    if (d == 0) {
      partial[0] = shared.total_largest[column];
      partial[1] = shared.total_sum[column];
    }
  }
}

// A thread for each value of a column; segments in ascending order, as merge_segment takes them.
template <int kTiles>
__global__ void __launch_bounds__(kAttentionThreads) attention_merge_kernel(AttentionLaunch launch) {
  const AttentionMerge merge = launch.merges[blockIdx.x];
  const int head_dim = launch.args.pages.head_dim;
  for (int i = threadIdx.x; i < merge.columns * head_dim; i += kAttentionThreads) {
    const int d = i % head_dim;
    const int column = i / head_dim;
    float largest = kMinusInfinity, sum = 0, value = 0;
    for (int s = 0; s < merge.segments; ++s) {
      const float* partial = partial_at(launch, merge.slot + s, kTiles * kTileRows, column);
      const MergeWeights by = merge_weights(largest, partial[0]);
      sum = sum * by.first + partial[1] * by.second;
      value = value * by.first + partial[2 + d] * by.second;
      largest = by.largest;
    }
    out_at(launch, merge.first_row, merge.column + column)[d] = value / sum;
  }
}

template <DType T, int kWide, int kTiles>
void launch_shape(CudaStream& stream, const AttentionLaunch& launch) {
  const auto heads = static_cast<unsigned>(launch.args.pages.kv_heads);
  stream.launch(attention_kernel<T, kWide, kTiles>, dim3(static_cast<unsigned>(launch.num_pieces), heads),
                kAttentionThreads, sizeof(AttentionShared<kWide, kTiles>), launch);
  stream.launch(attention_merge_kernel<kTiles>, dim3(static_cast<unsigned>(launch.num_merges), heads),
                kAttentionThreads, 0, launch);
}

template <DType T>
void launch_type(CudaStream& stream, const AttentionLaunch& launch, int tiles) {
  const int wide = (launch.args.pages.head_dim + 63) / 64;
  if (wide == 1 && tiles == 1) return launch_shape<T, 1, 1>(stream, launch);
  if (wide == 1) return launch_shape<T, 1, attention_tiles(64)>(stream, launch);
  if (wide == 2 && tiles == 1) return launch_shape<T, 2, 1>(stream, launch);
  if (wide == 2) return launch_shape<T, 2, attention_tiles(128)>(stream, launch);
  if (wide == 3) return launch_shape<T, 3, 1>(stream, launch);
  launch_shape<T, 4, 1>(stream, launch);
}

}  // namespace

void launch_attention(CudaStream& stream, const AttentionLaunch& launch, int tiles) {
  CHECK(launch.args.pages.type != DType::kI8);  // KvCache::create refuses it
  switch (launch.args.pages.type) {
    case DType::kF16: return launch_type<DType::kF16>(stream, launch, tiles);
    case DType::kBF16: return launch_type<DType::kBF16>(stream, launch, tiles);
    default: return launch_type<DType::kF32>(stream, launch, tiles);
  }
}

}  // namespace foregate::cuda
