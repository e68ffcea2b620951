// Causal attention over paged keys and values.
//
// Keys are visited in tiles of 64 absolute positions and segments of 512, so a query row sees the same ones whatever
// the block size, the chunk of the prompt or the other rows in the call. Per row and tile: the scores, an online
// softmax step (Milakov and Gimelshein, arXiv 1805.02867), the weighted values. Each segment starts anew and is merged
// into the row's result in ascending order, so that the segments of one row may be computed anywhere at any time (as in
// Flash-Decoding) and still give the same bits. Keys outside a row's own range never reach it.

constexpr std::int64_t kSegmentKeys = 512;

// One item: some rows of one sequence, all query heads of one kv head, some segments. Query vector i is row
// i / group, head i % group of the kv head's group.
struct AttentionItem {
  const SeqSpan* seq;
  std::int64_t kv_head;
  std::int64_t first_row;
  std::int64_t vectors;
};

struct AttentionShape {
  std::int64_t dim;         // head dimension
  std::int64_t dim_blocks;  // in blocks of 16
  std::int64_t group;       // query heads per kv head
  std::int64_t chunk_rows;  // rows of one item
  explicit AttentionShape(const AttentionArgs& args)
      : dim(args.pages.head_dim),
        dim_blocks(ceil_div(dim, kLanes)),
        group(args.heads / args.pages.kv_heads),
        chunk_rows(larger(1, 8 * kMaxRows / group)) {}
  std::int64_t vectors() const { return chunk_rows * group; }
  std::int64_t padded() const { return dim_blocks * kLanes; }
};

// Online softmax of some query vectors over some keys.
struct SoftmaxState {
  float* acc;    // [vectors][padded dim] weighted values
  float* top;    // [vectors] largest score
  float* total;  // [vectors][16] sums of probabilities, lane by lane
  SoftmaxState(Carver& carver, const AttentionShape& s, std::int64_t vectors)
      : acc(carver.take<float>(vectors * s.padded())),
        top(carver.take<float>(vectors)),
        total(carver.take<float>(vectors * kLanes)) {}
};

struct AttentionMemory {
  float* q;         // packed query tiles
  float* keys;      // [4][dims][16]: lane = key
  float* values;    // [dim blocks][64][16]: lane = dimension
  float* scores;    // [kMaxRows][64]
  std::byte* copy;  // two tiles of pages whose blocks do not consist of whole groups, and their scales
  SoftmaxState segment;
  SoftmaxState row;
  AttentionMemory(Carver& carver, const AttentionShape& s)
      : q(carver.take<float>(s.vectors() * s.dim)),
        keys(carver.take<float>(kTileKeys * s.dim)),
        values(carver.take<float>(kTileKeys * s.padded())),
        scores(carver.take<float>(kMaxRows * kTileKeys)),
        copy(carver.take<std::byte>(4 * kTileKeys * (s.dim + 1) * static_cast<std::int64_t>(sizeof(float)))),
        segment(carver, s, s.vectors()),
        row(carver, s, s.vectors()) {}
};

FOREGATE_INLINE KeyRange overlap(KeyRange a, KeyRange b) {
  return {larger(a.first, b.first), smaller(a.end, b.end)};
}

template <class T>
struct AttentionWorker {
  const AttentionArgs& args;
  const AttentionShape& shape;
  const AttentionItem& item;
  AttentionMemory m;

  // Keys of query vector i, as absolute positions.
  KeyRange range_of(std::int64_t i) const {
    const std::int64_t position = item.seq->first_position + item.first_row + i / shape.group;
    return {args.window > 0 ? larger(0, position - args.window + 1) : 0, position + 1};
  }
  KeyRange range_of_all() const { return {range_of(0).first, range_of(item.vectors - 1).end}; }
  std::int64_t offset_of(std::int64_t i, std::int64_t stride) const {
    const std::int64_t row = item.seq->first_row + item.first_row + i / shape.group;
    return row * stride + (item.kv_head * shape.group + i % shape.group) * shape.dim;
  }

  // All segments, merged as they come.
  void run() {
    pack_queries();
    const KeyRange all = range_of_all();
    for (std::int64_t s = all.first / kSegmentKeys; s * kSegmentKeys < all.end; ++s) {
      attend_segment(s);
      for (std::int64_t i = 0; i < item.vectors; ++i) merge(i, s, m.segment);
    }
    for (std::int64_t i = 0; i < item.vectors; ++i) finish(i);
  }

  void pack_queries() {
    const RowTiles tiles(item.vectors);
    for (std::int64_t t = 0; t < tiles.count; ++t) {
      const float* rows[kMaxRows];
      for (int r = 0; r < tiles.height(t); ++r) rows[r] = args.q.data + offset_of(tiles.first(t) + r, args.q.stride);
      pack_tile(rows, tiles.height(t), shape.dim, m.q + tiles.first(t) * shape.dim);
    }
  }

  void clear(SoftmaxState& state) {
    for (std::int64_t i = 0; i < item.vectors; ++i) {
      state.top[i] = -__builtin_inff();
      store(state.total + i * kLanes, zero());
      for (std::int64_t b = 0; b < shape.dim_blocks; ++b) store(state.acc + i * shape.padded() + b * kLanes, zero());
    }
  }

  // m.segment = the softmax of all vectors over the keys of segment s.
  void attend_segment(std::int64_t s) {
    clear(m.segment);
    const KeyRange keys = overlap(range_of_all(), {s * kSegmentKeys, (s + 1) * kSegmentKeys});
    const RowTiles tiles(item.vectors);
    std::int64_t start = keys.first / kTileKeys * kTileKeys;
    KeyTile<T> tile = locate(start, keys);
    for (; start < keys.end; start += kTileKeys) {
      const KeyTile<T> next = start + kTileKeys < keys.end ? locate(start + kTileKeys, keys) : tile;
      // Few query vectors read the pages themselves; many share a widened copy.
      if (tiles.count <= 2) {
        for (std::int64_t t = 0; t < tiles.count; ++t)
          attend_direct(tiles.first(t), tiles.height(t), start, tile, next);
      } else {
        attend_widened(tiles, start, tile);
      }
      tile = next;
    }
  }

  // The tile at `start`, as far as it lies in `keys`.
  KeyTile<T> locate(std::int64_t start, KeyRange keys) const {
    const KvPages& p = args.pages;
    const KeyRange loaded = overlap(keys, {start, start + kTileKeys});
    KeyTile<T> tile;
    tile.groups = {(loaded.first - start) / kLanes, ceil_div(loaded.end - start, kLanes)};
    if (p.block_size % kKeyGroup != 0 || item.seq->tail_reaches(loaded.end - 1)) return copied(start, loaded, tile);
    for (std::int64_t g = 0; g < kTileGroups; ++g) {
      const std::int64_t group = smaller(larger(g, tile.groups.first), tile.groups.end - 1);
      const std::int64_t position = start + group * kLanes;
      const std::int64_t at =
          value_index(p, item.seq->block_table[position / p.block_size], item.kv_head, position % p.block_size);
      tile.keys[g] = static_cast<const T*>(p.k) + at;
      tile.values[g] = static_cast<const T*>(p.v) + at;
      if constexpr (kHasScales<T>) {
        tile.scales.keys[g] = p.k_scales + at / shape.dim;
        tile.scales.values[g] = p.v_scales + at / shape.dim;
      }
    }
    return tile;
  }

  // The same where a group of 16 positions may be spread over blocks, or over the slots of a tree.
  KeyTile<T> copied(std::int64_t start, KeyRange loaded, KeyTile<T> tile) const {
    const KvPages& p = args.pages;
    T* keys = reinterpret_cast<T*>(m.copy) + start / kTileKeys % 2 * 2 * kTileKeys * shape.dim;
    T* values = keys + kTileKeys * shape.dim;
    for (std::int64_t g = 0; g < kTileGroups; ++g) {
      tile.keys[g] = keys + g * kLanes * shape.dim;
      tile.values[g] = values + g * kLanes * shape.dim;
    }
    for (std::int64_t position = loaded.first; position < loaded.end; ++position) {
      const std::int64_t slot = item.seq->slot(position, p.block_size);
      const std::int64_t block = slot / p.block_size;
      const std::int64_t place = slot % p.block_size;
      const T* key = static_cast<const T*>(p.k) + key_index(p, block, item.kv_head, place);
      const T* value = static_cast<const T*>(p.v) + value_index(p, block, item.kv_head, place);
      const std::int64_t i = position - start;
      for (std::int64_t d = 0; d < shape.dim; ++d) {
        keys[(i / kLanes * shape.dim + d) * kLanes + i % kLanes] = key[d * key_step(p, place)];
        values[i * shape.dim + d] = value[d];
      }
    }
    if constexpr (kHasScales<T>) copy_scales(start, loaded, tile);
    return tile;
  }

  void copy_scales(std::int64_t start, KeyRange loaded, KeyTile<T>& tile) const {
    const KvPages& p = args.pages;
    float* keys = reinterpret_cast<float*>(m.copy + 4 * kTileKeys * shape.dim) + start / kTileKeys % 2 * 2 * kTileKeys;
    float* values = keys + kTileKeys;
    for (std::int64_t g = 0; g < kTileGroups; ++g) {
      tile.scales.keys[g] = keys + g * kLanes;
      tile.scales.values[g] = values + g * kLanes;
    }
    for (std::int64_t position = loaded.first; position < loaded.end; ++position) {
      const std::int64_t slot = item.seq->slot(position, p.block_size);
      const std::int64_t at = scale_index(p, slot / p.block_size, item.kv_head, slot % p.block_size);
      keys[position - start] = p.k_scales[at];
      values[position - start] = p.v_scales[at];
    }
  }

  void attend_direct(std::int64_t first, int height, std::int64_t start, const KeyTile<T>& tile,
                     const KeyTile<T>& next) {
    for_height(height, [&]<int R>() { score_tile<T, R>(m.q + first * shape.dim, shape.dim, tile, next, m.scores); });
    for (int r = 0; r < height; ++r) softmax_step(first + r, m.scores + r * kTileKeys, start, tile);
    for_each_range(first, height, start, [&](int r, int count, KeyRange keys) {
      for_height(count, [&]<int R>() {
        add_value_tile<T, R>(m.scores + r * kTileKeys, keys, tile, next, shape.dim,
                             m.segment.acc + (first + r) * shape.padded(), shape.padded());
      });
    });
  }

  void attend_widened(const RowTiles& tiles, std::int64_t start, const KeyTile<T>& tile) {
    widen(tile);
    for (std::int64_t t = 0; t < tiles.count; ++t) {
      const std::int64_t first = tiles.first(t);
      const int height = tiles.height(t);
      if (range_of(first + height - 1).end <= start || range_of(first).first >= start + kTileKeys) continue;
      multiply<float>(PackedLeft{m.q + first * shape.dim}, height,
                      blocks_of<float>(m.keys, shape.dim * kLanes, kTileGroups, shape.dim), m.scores, kTileKeys, false,
                      nothing_ahead(m.keys));
      for (int r = 0; r < height; ++r) softmax_step(first + r, m.scores + r * kTileKeys, start, tile);
      for_each_range(first, height, start, [&](int r, int count, KeyRange keys) {
        const Blocks<float> values{m.values + keys.first * kLanes, kTileKeys * kLanes, shape.dim_blocks,
                                   keys.end - keys.first};
        multiply<float>(ApartLeft<kTileKeys>{m.scores + r * kTileKeys + keys.first}, count, values,
                        m.segment.acc + (first + r) * shape.padded(), shape.padded(), true, nothing_ahead(m.values));
      });
    }
  }

  void widen(const KeyTile<T>& tile) {
    for (std::int64_t g = 0; g < kTileGroups; ++g) {
      float* keys = m.keys + g * shape.dim * kLanes;
      for (std::int64_t d = 0; d < shape.dim; ++d) store(keys + d * kLanes, load(tile.keys[g] + d * kLanes));
      for (std::int64_t i = 0; i < kLanes; ++i) {
        const T* row = tile.values[g] + i * shape.dim;
        float* out = m.values + (g * kLanes + i) * kLanes;
        for (std::int64_t d = 0; d < shape.dim; d += kLanes) {
          store(out + d * kTileKeys, load_part(row + d, shape.dim - d));
        }
      }
    }
  }

  // Calls with(r, count, keys) for runs of vectors that read the same keys of the tile, which are not none.
  template <class With>
  void for_each_range(std::int64_t first, int height, std::int64_t start, const With& with) const {
    for (int r = 0; r < height;) {
      const KeyRange keys = tile_range(first + r, start);
      int end = r + 1;
      for (; end < height; ++end) {
        const KeyRange other = tile_range(first + end, start);
        if (other.first != keys.first || other.end != keys.end) break;
      }
      if (keys.first < keys.end) with(r, end - r, keys);
      r = end;
    }
  }

  // Keys of vector i inside the tile, relative to its start.
  KeyRange tile_range(std::int64_t i, std::int64_t start) const {
    const KeyRange range = range_of(i);
    return {larger(range.first - start, 0), smaller(range.end - start, kTileKeys)};
  }

  // score[b] = the scaled scores, minus infinity for keys outside the range; returns the largest.
  float scaled_scores(const float* scores, KeyRange keys, const KeyTile<T>& tile, V (&score)[kTileGroups]) const {
    const V lowest = splat(-__builtin_inff());
#pragma GCC unroll 4
    for (int b = 0; b < kTileGroups; ++b) {
      score[b] = load(scores + b * kLanes);
      if constexpr (kHasScales<T>) score[b] = mul(score[b], load(tile.scales.keys[b]));
      score[b] = mul(score[b], splat(args.scale));
    }
    if (keys.first > 0 || keys.end < kTileKeys) {
      static const float kLaneIndex[kLanes] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
      const V from = splat(static_cast<float>(keys.first));
      const V to = splat(static_cast<float>(keys.end));
#pragma GCC unroll 4
      for (int b = 0; b < kTileGroups; ++b) {
        const V index = add(load(kLaneIndex), splat(static_cast<float>(b * kLanes)));
        score[b] = select_lt(index, from, lowest, select_lt(index, to, score[b], lowest));
      }
    }
    return reduce_max(max(max(score[0], score[1]), max(score[2], score[3])));
  }

  // Turns the 64 scores into probabilities relative to the new maximum, times the scales of the values where they have
  // some; rescales what was summed so far.
  void softmax_step(std::int64_t i, float* scores, std::int64_t start, const KeyTile<T>& tile) {
    const KeyRange keys = tile_range(i, start);
    if (keys.first >= keys.end) return;
    V score[kTileGroups];
    const float tile_top = scaled_scores(scores, keys, tile, score);
    const float old_top = m.segment.top[i];
    const float top = tile_top > old_top ? tile_top : old_top;
    V total = load(m.segment.total + i * kLanes);
    if (top != old_top) {  // else the factor is exactly 1
      m.segment.top[i] = top;
      const V rescale = exp(splat(old_top - top));
      total = mul(total, rescale);
      float* acc = m.segment.acc + i * shape.padded();
      for (std::int64_t b = 0; b < shape.dim_blocks; ++b) store(acc + b * kLanes, mul(load(acc + b * kLanes), rescale));
    }
#pragma GCC unroll 4
    for (int b = 0; b < kTileGroups; ++b) {
      const V p = exp(sub(score[b], splat(top)));
      total = add(total, p);
      if constexpr (kHasScales<T>) {
        store(scores + b * kLanes, mul(p, load(tile.scales.values[b])));
      } else {
        store(scores + b * kLanes, p);
      }
    }
    store(m.segment.total + i * kLanes, total);
  }

  // Adds what vector i has from segment s to its result; its first segment begins it.
  void merge(std::int64_t i, std::int64_t s, const SoftmaxState& segment) {
    const KeyRange range = range_of(i);
    const std::int64_t first = range.first / kSegmentKeys;
    if (s < first || s * kSegmentKeys >= range.end) return;
    float* acc = m.row.acc + i * shape.padded();
    const float* from = segment.acc + i * shape.padded();
    if (s == first) {
      m.row.top[i] = segment.top[i];
      store(m.row.total + i * kLanes, load(segment.total + i * kLanes));
      for (std::int64_t b = 0; b < shape.dim_blocks; ++b) store(acc + b * kLanes, load(from + b * kLanes));
      return;
    }
    const float top = segment.top[i] > m.row.top[i] ? segment.top[i] : m.row.top[i];
    const V keep = exp(splat(m.row.top[i] - top));
    const V take = exp(splat(segment.top[i] - top));
    const auto combine = [&](float* to, const float* more) { store(to, fma(load(more), take, mul(load(to), keep))); };
    m.row.top[i] = top;
    combine(m.row.total + i * kLanes, segment.total + i * kLanes);
    for (std::int64_t b = 0; b < shape.dim_blocks; ++b) combine(acc + b * kLanes, from + b * kLanes);
  }

  void finish(std::int64_t i) {
    const V scale = splat(1.0f / reduce_add(load(m.row.total + i * kLanes)));
    float* out = args.out.data + offset_of(i, args.out.stride);
    for (std::int64_t b = 0; b < shape.dim_blocks; ++b) {
      const V acc = load(m.row.acc + i * shape.padded() + b * kLanes);
      store_part(out + b * kLanes, mul(acc, scale), shape.dim - b * kLanes);
    }
  }
};
