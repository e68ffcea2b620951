// The inner loops of attention over one tile of 64 keys: scores and weighted values, straight from the pages or from
// a widened copy. A score is a sum over the head dimension in ascending order, a weighted value a sum over positions in
// ascending order, each in one lane of one accumulator: the same bits however query vectors and keys are tiled.

constexpr int kTileKeys = 64;
constexpr int kTileGroups = kTileKeys / kLanes;
static_assert(kKeyGroup == kLanes);

struct KeyRange {
  std::int64_t first, end;
};

// Scales of the rows of a tile, group by group: where elements are codes.
template <class T>
struct TileScales {};
template <>
struct TileScales<I8> {
  const float* keys[kTileGroups];
  const float* values[kTileGroups];
};
template <class T>
constexpr bool kHasScales = false;
template <>
constexpr bool kHasScales<I8> = true;

// Where a tile's keys lie: group g holds positions [16 g, 16 g + 16) of the tile.
template <class T>
struct KeyTile {
  const T* keys[kTileGroups];    // [dim][16], lane = key
  const T* values[kTileGroups];  // [16][dim]
  KeyRange groups;               // those with keys that any row reads; others point at one of these
  TileScales<T> scales;
};

// Fetches into the L2 cache: the same places of the next tile, while one is worked on. Two tiles would crowd the L1
// cache.
template <class T>
FOREGATE_INLINE void fetch(const T* at) {
  __builtin_prefetch(at, 0, 2);
}

// scores[r * 64 + 16 b + lane] = query vector r times the key, for R vectors and B groups; q is a packed tile.
template <class T, int R, int B>
void score_groups(const float* q, std::int64_t dim, const T* const* keys, const T* const* next, float* scores) {
  constexpr std::int64_t kLine = 64 / (kLanes * sizeof(T));  // dimensions in a cache line
  V sum[R][B];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
    for (int b = 0; b < B; ++b) sum[r][b] = zero();
  }
  const auto add_dimension = [&](std::int64_t d) __attribute__((always_inline)) {
    V key[B];
#pragma GCC unroll 16
    for (int b = 0; b < B; ++b) key[b] = load(keys[b] + d * kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const V x = splat(q[d * R + r]);
#pragma GCC unroll 16
      for (int b = 0; b < B; ++b) sum[r][b] = fma(x, key[b], sum[r][b]);
    }
  };
  std::int64_t d = 0;
  for (; d + kLine <= dim; d += kLine) {
#pragma GCC unroll 16
    for (int b = 0; b < B; ++b) fetch(next[b] + d * kLanes);
#pragma GCC unroll 2
    for (std::int64_t i = 0; i < kLine; ++i) add_dimension(d + i);
  }
  for (; d < dim; ++d) add_dimension(d);
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
    for (int b = 0; b < B; ++b) store(scores + r * kTileKeys + b * kLanes, sum[r][b]);
  }
}

// acc[r * acc_stride + 16 b + lane] += p[r * 64 + key] * the value, over `range`, for R vectors and B blocks of
// dimensions from `d` on; the last block may be narrower than 16 when B is 1.
template <class T, int R, int B>
void add_values(const float* p, KeyRange range, const KeyTile<T>& tile, const KeyTile<T>& next, std::int64_t dim,
                std::int64_t d, float* acc, std::int64_t acc_stride) {
  constexpr std::int64_t kLine = 64 / sizeof(T);
  const std::int64_t width = dim - d;
  V sum[R][B];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
    for (int b = 0; b < B; ++b) sum[r][b] = load(acc + r * acc_stride + b * kLanes);
  }
  for (std::int64_t g = range.first / kLanes; g * kLanes < range.end; ++g) {
    const std::int64_t end = smaller(range.end - g * kLanes, kLanes);
    for (std::int64_t i = larger(range.first - g * kLanes, 0); i < end; ++i) {
      const T* row = tile.values[g] + i * dim + d;
#pragma GCC unroll 16
      for (std::int64_t at = 0; at < B * kLanes; at += kLine) fetch(next.values[g] + i * dim + d + at);
      V value[B];
#pragma GCC unroll 16
      for (int b = 0; b < B; ++b) value[b] = B == 1 ? load_part(row, width) : load(row + b * kLanes);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const V x = splat(p[r * kTileKeys + g * kLanes + i]);
#pragma GCC unroll 16
        for (int b = 0; b < B; ++b) sum[r][b] = fma(x, value[b], sum[r][b]);
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
    for (int b = 0; b < B; ++b) store(acc + r * acc_stride + b * kLanes, sum[r][b]);
  }
}

// All groups of the tile for R query vectors.
template <class T, int R>
void score_tile(const float* q, std::int64_t dim, const KeyTile<T>& tile, const KeyTile<T>& next, float* scores) {
  constexpr int kWide = wide_blocks(R);
  std::int64_t g = tile.groups.first;
  for (; g + kWide <= tile.groups.end; g += kWide) {
    score_groups<T, R, kWide>(q, dim, tile.keys + g, next.keys + g, scores + g * kLanes);
  }
  for (; g < tile.groups.end; ++g) {
    score_groups<T, R, 1>(q, dim, tile.keys + g, next.keys + g, scores + g * kLanes);
  }
}

// All dimensions for R vectors that read the same range of keys.
template <class T, int R>
void add_value_tile(const float* p, KeyRange range, const KeyTile<T>& tile, const KeyTile<T>& next, std::int64_t dim,
                    float* acc, std::int64_t acc_stride) {
  constexpr int kWide = wide_blocks(R);
  std::int64_t d = 0;
  for (; d + kWide * kLanes <= dim; d += kWide * kLanes) {
    add_values<T, R, kWide>(p, range, tile, next, dim, d, acc + d, acc_stride);
  }
  for (; d < dim; d += kLanes) add_values<T, R, 1>(p, range, tile, next, dim, d, acc + d, acc_stride);
}

// Calls with.template operator()<R>() for R = height, the highest first.
template <int R = kMaxRows, class With>
FOREGATE_INLINE void for_height(int height, const With& with) {
  if constexpr (R > 0) {
    if (height == R) return with.template operator()<R>();
    for_height<R - 1>(height, with);
  }
}
