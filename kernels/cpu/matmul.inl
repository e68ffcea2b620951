// The one matrix kernel under linear, expert_ffn and attention.
//
// Left side: rows of activations packed in tiles of at most kMaxRows rows, element (k, r) of a tile
// at [k * rows + r]. Right side: blocks of 16 outputs, element (k, lane) of a block at [k * 16 + lane].
// One lane of one accumulator owns one output of one row and adds its products in ascending k, one
// at a time. Tiling, splitting k (the accumulator rests in memory meanwhile, exactly) and widening a
// panel beforehand therefore never change a bit.

// How `rows` rows are cut into tiles of nearly equal height.
struct RowTiles {
  std::int64_t count, base, extra;
  explicit RowTiles(std::int64_t rows)
      : count(ceil_div(rows, kMaxRows)), base(rows / larger(count, 1)), extra(rows % larger(count, 1)) {}
  std::int64_t first(std::int64_t tile) const { return tile * base + smaller(tile, extra); }
  int height(std::int64_t tile) const { return static_cast<int>(base + (tile < extra ? 1 : 0)); }
};

// Packs one tile: rows row_ids[0..height) (or first, first + 1, ... when row_ids is null) of x.
inline void pack_tile(const View2<const float>& x, const std::int32_t* row_ids, std::int64_t first, int height,
                      float* packed) {
  const float* rows[kMaxRows];
  for (int r = 0; r < height; ++r) rows[r] = x.data + (row_ids != nullptr ? row_ids[r] : first + r) * x.stride;
  for (std::int64_t k = 0; k < x.cols; ++k) {
    for (int r = 0; r < height; ++r) packed[k * height + r] = rows[r][k];
  }
}

constexpr std::int64_t kPrefetchBytes = 2048;

// accumulators of R rows x B blocks over k_count steps. acc[r * acc_stride + b * 16 + lane];
// `resume` continues from what acc holds, otherwise from zero.
template <class W, int R, int B>
void multiply_tile(const float* a, const W* w, std::int64_t block_stride, std::int64_t k_count, float* acc,
                   std::int64_t acc_stride, bool resume) {
  V sum[R][B];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
    for (int b = 0; b < B; ++b) sum[r][b] = resume ? load(acc + r * acc_stride + b * kLanes) : zero();
  }
  for (std::int64_t k = 0; k < k_count; ++k) {
    V weights[B];
#pragma GCC unroll 16
    for (int b = 0; b < B; ++b) {
      const W* at = w + b * block_stride + k * kLanes;
      __builtin_prefetch(reinterpret_cast<const char*>(at) + kPrefetchBytes, 0, 3);
      weights[b] = load(at);
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const V x = splat(a[k * R + r]);
#pragma GCC unroll 16
      for (int b = 0; b < B; ++b) sum[r][b] = fma(x, weights[b], sum[r][b]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
    for (int b = 0; b < B; ++b) store(acc + r * acc_stride + b * kLanes, sum[r][b]);
  }
}

// Right side of one product: `blocks` blocks, block_stride elements apart, k steps each.
template <class W>
struct Blocks {
  const W* data;
  std::int64_t block_stride;
  std::int64_t count;
  std::int64_t k;
};

template <class W>
Blocks<W> blocks_of(const W* data, std::int64_t block_stride, std::int64_t count, std::int64_t k) {
  return {data, block_stride, count, k};
}

template <class W, int R, int B>
void multiply_height(const float* a, const Blocks<W>& w, float* acc, std::int64_t acc_stride, bool resume) {
  std::int64_t b = 0;
  for (; b + B <= w.count; b += B) {
    multiply_tile<W, R, B>(a, w.data + b * w.block_stride, w.block_stride, w.k, acc + b * kLanes, acc_stride, resume);
  }
  for (; b < w.count; ++b) {
    multiply_tile<W, R, 1>(a, w.data + b * w.block_stride, w.block_stride, w.k, acc + b * kLanes, acc_stride, resume);
  }
}

template <class W, int R>
FOREGATE_INLINE void multiply_if_built(const float* a, const Blocks<W>& w, float* acc, std::int64_t acc_stride,
                                       bool resume) {
  if constexpr (R <= kMaxRows) multiply_height<W, R, wide_blocks(R)>(a, w, acc, acc_stride, resume);
}

// One tile of `height` rows times all blocks.
template <class W>
void multiply(const float* a, int height, const Blocks<W>& w, float* acc, std::int64_t acc_stride, bool resume) {
  switch (height) {
    case 1: multiply_if_built<W, 1>(a, w, acc, acc_stride, resume); break;
    case 2: multiply_if_built<W, 2>(a, w, acc, acc_stride, resume); break;
    case 3: multiply_if_built<W, 3>(a, w, acc, acc_stride, resume); break;
    case 4: multiply_if_built<W, 4>(a, w, acc, acc_stride, resume); break;
    case 5: multiply_if_built<W, 5>(a, w, acc, acc_stride, resume); break;
    case 6: multiply_if_built<W, 6>(a, w, acc, acc_stride, resume); break;
    case 7: multiply_if_built<W, 7>(a, w, acc, acc_stride, resume); break;
    case 8: multiply_if_built<W, 8>(a, w, acc, acc_stride, resume); break;
    case 9: multiply_if_built<W, 9>(a, w, acc, acc_stride, resume); break;
    case 10: multiply_if_built<W, 10>(a, w, acc, acc_stride, resume); break;
    case 11: multiply_if_built<W, 11>(a, w, acc, acc_stride, resume); break;
    case 12: multiply_if_built<W, 12>(a, w, acc, acc_stride, resume); break;
    default: CHECK(height == 0);
  }
}

// Steps of k in one widened panel: the panel and a tile's share of activations stay in the L1 cache.
constexpr std::int64_t kPanelSteps = 128;
constexpr std::int64_t kChunkBlocks = 4;  // blocks of one item
constexpr std::int64_t kPanelFloats = kPanelSteps * kChunkBlocks * kLanes;

template <class W>
void widen_panel(const Blocks<W>& w, std::int64_t k0, std::int64_t steps, float* panel) {
  for (std::int64_t b = 0; b < w.count; ++b) {
    const W* from = w.data + b * w.block_stride + k0 * kLanes;
    float* to = panel + b * kPanelSteps * kLanes;
    for (std::int64_t k = 0; k < steps; ++k) store(to + k * kLanes, load(from + k * kLanes));
  }
}

// All tiles times w (at most kChunkBlocks blocks): acc[row * acc_stride + b * 16 + lane] = the sums.
// `packed` holds the tiles one after the other, w.k columns each; `panel` has kPanelFloats.
template <class W>
void multiply_rows(const float* packed, const RowTiles& tiles, const Blocks<W>& w, float* acc, std::int64_t acc_stride,
                   float* panel) {
  if (tiles.count == 1) {
    multiply(packed, tiles.height(0), w, acc, acc_stride, false);
    return;
  }
  for (std::int64_t k0 = 0; k0 < w.k; k0 += kPanelSteps) {
    const std::int64_t steps = smaller(kPanelSteps, w.k - k0);
    widen_panel(w, k0, steps, panel);
    const Blocks<float> wide{panel, kPanelSteps * kLanes, w.count, steps};
    for (std::int64_t tile = 0; tile < tiles.count; ++tile) {
      const std::int64_t first = tiles.first(tile);
      const int height = tiles.height(tile);
      multiply(packed + first * w.k + k0 * height, height, wide, acc + first * acc_stride, acc_stride, k0 > 0);
    }
  }
}

// The same for blocks [first_block, first_block + count) of a packed weight of any format.
inline void multiply_weight(const float* packed, const RowTiles& tiles, const PackedWeight& weight,
                            std::int64_t first_block, std::int64_t count, float* acc, std::int64_t acc_stride,
                            float* panel) {
  const std::int64_t stride = weight.cols * kLanes;
  const auto with = [&](const auto* data) {
    multiply_rows(packed, tiles, blocks_of(data + first_block * stride, stride, count, weight.cols), acc, acc_stride,
                  panel);
  };
  switch (weight.format) {
    case WeightFormat::kF32: with(reinterpret_cast<const float*>(weight.data)); break;
    case WeightFormat::kF16: with(reinterpret_cast<const F16*>(weight.data)); break;
    case WeightFormat::kBF16: with(reinterpret_cast<const Bf16*>(weight.data)); break;
  }
}
