// The one matrix kernel under linear, expert_ffn and attention.
//
// Left side: rows of activations packed in tiles of at most kMaxRows rows, element (k, r) of a tile
// at [k * rows + r]; a few rows are taken where they lie. Right side: blocks of 16 outputs, element (k, lane) of a
// block at [k * 16 + lane]. One lane of one accumulator owns one output of one row and adds its products in ascending
// k, one at a time. Tiling, splitting k (the accumulator rests in memory meanwhile, exactly) and widening a panel
// beforehand therefore never change a bit.

// How `rows` rows are cut into tiles of nearly equal height.
struct RowTiles {
  std::int64_t count, base, extra;
  explicit RowTiles(std::int64_t rows)
      : count(ceil_div(rows, kMaxRows)), base(rows / larger(count, 1)), extra(rows % larger(count, 1)) {}
  std::int64_t first(std::int64_t tile) const { return tile * base + smaller(tile, extra); }
  int height(std::int64_t tile) const { return static_cast<int>(base + (tile < extra ? 1 : 0)); }
};

// Packs one tile: row r of it begins at rows[r] and has k_count elements.
inline void pack_tile(const float* const* rows, int height, std::int64_t k_count, float* packed) {
  float turned[kLanes * kLanes];
  std::int64_t k = 0;
  for (; k + kLanes <= k_count; k += kLanes) {
    V values[kLanes];
    for (int r = 0; r < kLanes; ++r) values[r] = r < height ? load(rows[r] + k) : zero();
    store_transposed(values, turned);
    // Whole vectors, each overwriting what the one before wrote too much, as long as they stay in the tile.
    int i = 0;
    for (; i < kLanes && (k + i) * height + kLanes <= k_count * height; ++i) {
      store(packed + (k + i) * height, load(turned + i * kLanes));
    }
    for (; i < kLanes; ++i) {
      for (int r = 0; r < height; ++r) packed[(k + i) * height + r] = turned[i * kLanes + r];
    }
  }
  for (; k < k_count; ++k) {
    for (int r = 0; r < height; ++r) packed[k * height + r] = rows[r][k];
  }
}

// Left side: a packed tile, rows kStride floats apart, or rows anywhere.
struct PackedLeft {
  const float* a;
  template <int R>
  FOREGATE_INLINE float at(std::int64_t k, int r) const {
    return a[k * R + r];
  }
};
template <int kStride>
struct ApartLeft {
  const float* a;
  template <int R>
  FOREGATE_INLINE float at(std::int64_t k, int r) const {
    return a[r * kStride + k];
  }
};
// So few rows need no packing: a pointer for each stays in a register.
constexpr int kFewRows = kMaxRows < 5 ? kMaxRows : 5;
struct RowsLeft {
  const float* row[kFewRows];
  template <int R>
  FOREGATE_INLINE float at(std::int64_t k, int r) const {
    return row[r][k];
  }
};

// What to fetch into the cache meanwhile: step k of block b asks for `at + b * block_bytes + k * step_bytes`.
struct Ahead {
  const char* at;
  std::int64_t block_bytes;
  std::int64_t step_bytes;
};

// For operands in the cache: asks again and again for a line that is there.
FOREGATE_INLINE Ahead nothing_ahead(const void* cached) {
  return {reinterpret_cast<const char*>(cached), 0, 0};
}

// The accumulators of R rows x B blocks over k_count steps. acc[r * acc_stride + b * 16 + lane];
// `resume` continues from what acc holds, otherwise from zero.
template <class W, int R, int B, class Left>
void multiply_tile(Left left, const W* w, std::int64_t block_stride, std::int64_t k_count, float* acc,
                   std::int64_t acc_stride, bool resume, Ahead ahead) {
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
      __builtin_prefetch(ahead.at + b * ahead.block_bytes + k * ahead.step_bytes, 0, 3);
      weights[b] = load(w + b * block_stride + k * kLanes);
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const V x = splat(left.template at<R>(k, r));
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

// Right side of one product: `count` blocks, block_stride elements apart, k steps each.
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

// Distance ahead in weights that are read once.
constexpr std::int64_t kPrefetchBytes = 2048;
template <class W>
FOREGATE_INLINE Ahead ahead_in(const Blocks<W>& w, std::int64_t distance) {
  constexpr std::int64_t kSize = sizeof(W);
  return {reinterpret_cast<const char*>(w.data) + distance, w.block_stride * kSize, kLanes * kSize};
}

template <class W, int R, int B, class Left>
void multiply_height(Left left, const Blocks<W>& w, float* acc, std::int64_t acc_stride, bool resume, Ahead ahead) {
  const auto at = [&](std::int64_t b) {
    return Ahead{ahead.at + b * ahead.block_bytes, ahead.block_bytes, ahead.step_bytes};
  };
  std::int64_t b = 0;
  for (; b + B <= w.count; b += B) {
    multiply_tile<W, R, B>(left, w.data + b * w.block_stride, w.block_stride, w.k, acc + b * kLanes, acc_stride, resume,
                           at(b));
  }
  if constexpr (B > 2) {
    for (; b + 2 <= w.count; b += 2) {
      multiply_tile<W, R, 2>(left, w.data + b * w.block_stride, w.block_stride, w.k, acc + b * kLanes, acc_stride,
                             resume, at(b));
    }
  }
  for (; b < w.count; ++b) {
    multiply_tile<W, R, 1>(left, w.data + b * w.block_stride, w.block_stride, w.k, acc + b * kLanes, acc_stride, resume,
                           at(b));
  }
}

// One tile of `height` rows times all blocks. The highest tile is the likeliest: it is tried first.
template <class W, class Left, int R = kMaxRows>
void multiply(Left left, int height, const Blocks<W>& w, float* acc, std::int64_t acc_stride, bool resume,
              Ahead ahead) {
  if constexpr (R > 0) {
    if (height == R) return multiply_height<W, R, wide_blocks(R)>(left, w, acc, acc_stride, resume, ahead);
    multiply<W, Left, R - 1>(left, height, w, acc, acc_stride, resume, ahead);
  }
}

// A few rows times w, whose weights stream by. Blocks that are long are fetched a little ahead; of short ones the same
// place in the blocks that come next, for the last ones what `next` shows (the first of as many blocks, or null).
constexpr std::int64_t kShortBlock = 16384;  // bytes
template <class W, int R = kFewRows>
void multiply_few(const RowsLeft& left, int height, const Blocks<W>& w, float* acc, std::int64_t acc_stride,
                  const std::byte* next) {
  if constexpr (R > 0) {
    if (height != R) return multiply_few<W, R - 1>(left, height, w, acc, acc_stride, next);
    constexpr std::int64_t kTogether = wide_blocks(R);
    constexpr std::int64_t kSize = sizeof(W);
    if (w.k * kLanes * kSize > kShortBlock) {
      return multiply_height<W, R, kTogether>(left, w, acc, acc_stride, false, ahead_in(w, kPrefetchBytes));
    }
    for (std::int64_t b = 0; b < w.count; b += kTogether) {
      const Blocks<W> part{w.data + b * w.block_stride, w.block_stride, smaller(kTogether, w.count - b), w.k};
      const W* following = part.data + kTogether * w.block_stride;
      if (b + kTogether >= w.count) following = reinterpret_cast<const W*>(next);
      const Ahead ahead = following != nullptr
                              ? Ahead{reinterpret_cast<const char*>(following), w.block_stride * kSize, kLanes * kSize}
                              : nothing_ahead(part.data);
      multiply_height<W, R, kTogether>(left, part, acc + b * kLanes, acc_stride, false, ahead);
    }
  }
}

// Rows of one pass, so that the packed activations stay in the cache.
constexpr std::int64_t kRowsPerPass = 512;

// Steps of k in one panel: the panel and a tile's share of activations stay in the L1 cache.
constexpr std::int64_t kPanelSteps = 128;
constexpr std::int64_t kNarrowChunk = 4;

// Blocks of one item. A few rows: four, the weights stream by. Many rows: wide items, so that packed
// rows fetched from the outer caches are used often, but enough items for all threads. A small matrix goes in
// smaller pieces, as long as each has sums enough to hide the latency of one.
inline std::int64_t chunk_blocks(std::int64_t rows, std::int64_t blocks, std::int64_t threads) {
  constexpr std::int64_t kEnoughSums = 8;
  std::int64_t chunk = rows <= kMaxRows ? kNarrowChunk : kWideChunk;
  while (chunk > kNarrowChunk && ceil_div(blocks, chunk) < 4 * threads) chunk /= 2;
  while (chunk > 1 && rows * chunk / 2 >= kEnoughSums && ceil_div(blocks, chunk) < 2 * threads) chunk /= 2;
  return chunk;
}

// Work memory of an item for `rows` rows and `chunk` blocks.
FOREGATE_INLINE std::int64_t panel_floats(std::int64_t chunk) {
  return kPanelSteps * chunk * kLanes;
}

// The weights of steps [k0, k0 + steps) as f32: in place when they are, else widened into `panel`.
inline Blocks<float> panel_of(const Blocks<float>& w, std::int64_t k0, std::int64_t steps, float*) {
  return {w.data + k0 * kLanes, w.block_stride, w.count, steps};
}
template <class W>
Blocks<float> panel_of(const Blocks<W>& w, std::int64_t k0, std::int64_t steps, float* panel) {
  for (std::int64_t b = 0; b < w.count; ++b) {
    const W* from = w.data + b * w.block_stride + k0 * kLanes;
    float* to = panel + b * kPanelSteps * kLanes;
    for (std::int64_t k = 0; k < steps; ++k) store(to + k * kLanes, load(from + k * kLanes));
  }
  return {panel, kPanelSteps * kLanes, w.count, steps};
}

// While part of a panel is multiplied the same part of the next one is fetched, spread over the first tiles.
template <class W>
Ahead next_panel(const Blocks<W>& w, std::int64_t first_block, std::int64_t k0, const RowTiles& tiles,
                 std::int64_t tile) {
  const std::int64_t shares = tiles.count >= 8 ? 8 : tiles.count >= 4 ? 4 : 2;
  Ahead ahead = ahead_in(w, 0);
  ahead.at += first_block * ahead.block_bytes;
  if (k0 + kPanelSteps < w.k && tile < shares) {
    ahead.at += (k0 + kPanelSteps) * ahead.step_bytes;
    ahead.step_bytes /= shares;
    ahead.at += tile * kPanelSteps * ahead.step_bytes;
  } else {
    ahead.step_bytes = 0;
  }
  return ahead;
}

// Tiles up to which widening the weights anew for each costs less than a panel, which is written and read back.
constexpr std::int64_t kStreamedTiles = 2;

// All tiles times w: acc[row * acc_stride + b * 16 + lane] = the sums. `packed` holds the tiles one
// after the other, w.k columns each; `panel` has panel_floats(w.count). One or two tiles take the weights
// as they stream by, the second one from the cache. With more the steps of k go in panels; a few blocks of a panel
// stay in the L1 cache while all tiles pass by.
template <class W>
void multiply_rows(const float* packed, const RowTiles& tiles, const Blocks<W>& w, float* acc, std::int64_t acc_stride,
                   float* panel) {
  if (tiles.count == 1) {
    multiply<W>(PackedLeft{packed}, tiles.height(0), w, acc, acc_stride, false, ahead_in(w, kPrefetchBytes));
    return;
  }
  constexpr std::int64_t kTogether = wide_blocks(kMaxRows);
  if (tiles.count <= kStreamedTiles) {
    for (std::int64_t b = 0; b < w.count; b += kTogether) {
      const Blocks<W> part{w.data + b * w.block_stride, w.block_stride, smaller(kTogether, w.count - b), w.k};
      for (std::int64_t tile = 0; tile < tiles.count; ++tile) {
        const std::int64_t first = tiles.first(tile);
        const Ahead ahead = tile == 0 ? ahead_in(part, kPrefetchBytes) : nothing_ahead(packed);
        multiply<W>(PackedLeft{packed + first * w.k}, tiles.height(tile), part, acc + first * acc_stride + b * kLanes,
                    acc_stride, false, ahead);
      }
    }
    return;
  }
  for (std::int64_t k0 = 0; k0 < w.k; k0 += kPanelSteps) {
    const Blocks<float> wide = panel_of(w, k0, smaller(kPanelSteps, w.k - k0), panel);
    for (std::int64_t b = 0; b < w.count; b += kTogether) {
      const Blocks<float> part{wide.data + b * wide.block_stride, wide.block_stride, smaller(kTogether, w.count - b),
                               wide.k};
      for (std::int64_t tile = 0; tile < tiles.count; ++tile) {
        const std::int64_t first = tiles.first(tile);
        const int height = tiles.height(tile);
        multiply<float>(PackedLeft{packed + first * w.k + k0 * height}, height, part,
                        acc + first * acc_stride + b * kLanes, acc_stride, k0 > 0, next_panel(w, b, k0, tiles, tile));
      }
    }
  }
}
