// Causal attention over paged keys and values.
//
// Keys are visited in tiles of 64 absolute positions, so a query row sees the same tiles whatever
// the block size, the chunk of the prompt or the other rows in the call. Per row: the scores of a
// tile (each a sum over the head dimension in ascending order), an online softmax step (Milakov and
// Gimelshein, arXiv 1805.02867), then the weighted values added in ascending position. Both products
// are matmul.inl; keys outside the row's own range are never multiplied.

constexpr int kTileKeys = 64;
constexpr int kKeyBlocks = kTileKeys / kLanes;

// One item: some rows of one sequence, all query heads of one kv head. Query vector i is row
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

struct AttentionMemory {
  float* q;       // packed query tiles
  float* keys;    // [4][dims][16]: lane = key
  float* values;  // [dim blocks][keys][16]: lane = dimension
  float* scores;  // [kMaxRows][64]
  float* acc;     // [vectors][padded dim]
  float* top;     // [vectors] largest score so far
  float* total;   // [vectors][16] sums of probabilities, lane by lane
  AttentionMemory(Carver& carver, const AttentionShape& s)
      : q(carver.take<float>(s.vectors() * s.dim)),
        keys(carver.take<float>(kTileKeys * s.dim)),
        values(carver.take<float>(kTileKeys * s.padded())),
        scores(carver.take<float>(kMaxRows * kTileKeys)),
        acc(carver.take<float>(s.vectors() * s.padded())),
        top(carver.take<float>(s.vectors())),
        total(carver.take<float>(s.vectors() * kLanes)) {}
};

struct KeyRange {
  std::int64_t first, end;
};

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
  std::int64_t offset_of(std::int64_t i, std::int64_t stride) const {
    const std::int64_t row = item.seq->first_row + item.first_row + i / shape.group;
    return row * stride + (item.kv_head * shape.group + i % shape.group) * shape.dim;
  }
  // Element offset in the pages of each key of the tile at `start`; -1 for keys outside `all`.
  void locate(std::int64_t start, KeyRange all, std::int64_t* offsets) const {
    const KvPages& p = args.pages;
    const KeyRange range = loaded_range(start, all);
    for (int i = 0; i < kTileKeys; ++i) offsets[i] = -1;
    if (range.first >= range.end) return;
    std::int32_t entry = static_cast<std::int32_t>(range.first) / p.block_size;
    std::int32_t slot = static_cast<std::int32_t>(range.first) % p.block_size;
    for (std::int64_t position = range.first; position < range.end; ++entry, slot = 0) {
      const std::int64_t first = (item.seq->block_table[entry] * static_cast<std::int64_t>(p.kv_heads) + item.kv_head) *
                                 p.block_size * shape.dim;
      for (; slot < p.block_size && position < range.end; ++slot, ++position) {
        offsets[position - start] = first + slot * shape.dim;
      }
    }
  }
  static KeyRange loaded_range(std::int64_t start, KeyRange all) {
    return {larger(start, all.first), smaller(start + kTileKeys, all.end)};
  }

  // Many query vectors share a whole loaded tile. For one query tile (decode) keys and values are
  // loaded and used piece by piece, so that they never leave the L1 cache; the sums are the same.
  void run() {
    const RowTiles tiles(item.vectors);
    for (std::int64_t t = 0; t < tiles.count; ++t) start_tile(tiles.first(t), tiles.height(t));
    const KeyRange all{range_of(0).first, range_of(item.vectors - 1).end};
    std::int64_t offsets[2][kTileKeys];
    int now = 0;
    std::int64_t start = all.first / kTileKeys * kTileKeys;
    locate(start, all, offsets[now]);
    for (; start < all.end; start += kTileKeys, now ^= 1) {
      locate(start + kTileKeys, all, offsets[now ^ 1]);
      const Tile tile{start, offsets[now], offsets[now ^ 1]};
      if (tiles.count == 1) {
        attend_in_pieces(tiles.height(0), tile);
      } else {
        attend_whole(tiles, tile);
      }
    }
    for (std::int64_t i = 0; i < item.vectors; ++i) finish(i);
  }

  struct Tile {
    std::int64_t start;           // absolute position of its first key
    const std::int64_t* offsets;  // of its keys, see locate
    const std::int64_t* next;     // of the keys of the next tile
  };

  void attend_in_pieces(int height, const Tile& tile) {
    for (std::int64_t d = 0; d < shape.dim; d += kLanes) {
      const std::int64_t steps = smaller(kLanes, shape.dim - d);
      load_keys(tile, d, steps);
      multiply<float, 0>(m.q + d * height, height, blocks_of<float>(m.keys, steps * kLanes, kKeyBlocks, steps),
                         m.scores, kTileKeys, d > 0, nothing_ahead(m.keys));
    }
    for (int i = 0; i < height; ++i) softmax_step(i, m.scores + i * kTileKeys, tile_range(i, tile.start));
    for (int key = 0; key < kTileKeys; key += kLanes) {
      const KeyRange piece{key, key + kLanes};
      load_values(tile, piece);
      add_values(0, height, tile.start, piece);
    }
  }

  void attend_whole(const RowTiles& tiles, const Tile& tile) {
    const KeyRange whole{0, kTileKeys};
    load_keys(tile, 0, shape.dim);
    load_values(tile, whole);
    for (std::int64_t t = 0; t < tiles.count; ++t) {
      const std::int64_t first = tiles.first(t);
      const int height = tiles.height(t);
      if (range_of(first + height - 1).end <= tile.start || range_of(first).first >= tile.start + kTileKeys) continue;
      multiply<float, 0>(m.q + first * shape.dim, height,
                         blocks_of<float>(m.keys, shape.dim * kLanes, kKeyBlocks, shape.dim), m.scores, kTileKeys,
                         false, nothing_ahead(m.keys));
      for (int i = 0; i < height; ++i)
        softmax_step(first + i, m.scores + i * kTileKeys, tile_range(first + i, tile.start));
      add_values(first, height, tile.start, whole);
    }
  }

  void start_tile(std::int64_t first, int height) {
    const float* rows[kMaxRows];
    for (int r = 0; r < height; ++r) rows[r] = args.q.data + offset_of(first + r, args.q.stride);
    pack_tile(rows, height, shape.dim, m.q + first * shape.dim);
    for (std::int64_t i = first; i < first + height; ++i) {
      m.top[i] = -__builtin_inff();
      store(m.total + i * kLanes, zero());
      for (std::int64_t b = 0; b < shape.dim_blocks; ++b) store(m.acc + i * shape.padded() + b * kLanes, zero());
    }
  }

  // Dimensions [d0, d0 + steps) of the tile's keys, turned so that a lane is a key. Keys outside the
  // range become zeros and are not read.
  void load_keys(const Tile& tile, std::int64_t d0, std::int64_t steps) {
    const T* pages = static_cast<const T*>(args.pages.k);
    for (int block = 0; block < kTileKeys; block += kLanes) {
      const std::int64_t* offsets = tile.offsets + block;
      float* out = m.keys + block * steps;
      bool complete = true;
      for (int lane = 0; lane < kLanes; ++lane) complete = complete && offsets[lane] >= 0;
      std::int64_t d = d0;
      for (; complete && d + kLanes <= d0 + steps; d += kLanes) {
        if (d % kLineElements == 0) prefetch_column(pages + d, tile.next + block);
        V turned[kLanes];
#pragma GCC unroll 16
        for (int lane = 0; lane < kLanes; ++lane) turned[lane] = load(pages + offsets[lane] + d);
        store_transposed(turned, out + (d - d0) * kLanes);
      }
      for (; d < d0 + steps; d += kLanes) {
        load_ragged_keys(pages + d, offsets, smaller(kLanes, d0 + steps - d), out + (d - d0) * kLanes);
      }
    }
  }

  static constexpr std::int64_t kLineElements = 64 / sizeof(T);

  // Fetches pages[index]; the index of a missing key is -1 and costs nothing but the instruction.
  static void prefetch(const T* pages, std::int64_t index) {
    const std::uintptr_t at = reinterpret_cast<std::uintptr_t>(pages) + static_cast<std::uintptr_t>(index) * sizeof(T);
    __builtin_prefetch(reinterpret_cast<const void*>(at), 0, 3);
  }

  // While one tile is loaded the same places of the next one are fetched.
  static void prefetch_column(const T* pages, const std::int64_t* next) {
#pragma GCC unroll 16
    for (int lane = 0; lane < kLanes; ++lane) prefetch(pages, next[lane]);
  }

  // n <= 16 dimensions, where keys may be missing or dimensions may end.
  static void load_ragged_keys(const T* pages, const std::int64_t* offsets, std::int64_t n, float* out) {
    V rows[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) {
      rows[lane] = offsets[lane] >= 0 ? load_part(pages + offsets[lane], n) : zero();
    }
    float turned[kLanes * kLanes];
    store_transposed(rows, turned);
    for (std::int64_t i = 0; i < n; ++i) store(out + i * kLanes, load(turned + i * kLanes));
  }

  // The values of a piece of the tile; element (block of dimensions, key, lane) at
  // [(block * keys of the piece + key) * 16 + lane].
  void load_values(const Tile& tile, KeyRange piece) {
    const T* pages = static_cast<const T*>(args.pages.v);
    const std::int64_t keys = piece.end - piece.first;
    const std::int64_t dim = shape.dim;
    for (std::int64_t key = piece.first; key < piece.end; ++key) {
      if (tile.offsets[key] < 0) continue;
      const T* row = pages + tile.offsets[key];
      float* out = m.values + (key - piece.first) * kLanes;
      for (std::int64_t d = 0; d < dim; d += kLineElements) prefetch(pages, tile.next[key] + d);
      std::int64_t d = 0;
      for (; d + kLanes <= dim; d += kLanes) store(out + d * keys, load(row + d));
      if (d < dim) store(out + d * keys, load_part(row + d, dim - d));
    }
  }

  static bool same(KeyRange a, KeyRange b) {
    return a.first == b.first && a.end == b.end;
  }

  // Keys of vector i inside the tile, relative to its start.
  KeyRange tile_range(std::int64_t i, std::int64_t start) const {
    const KeyRange range = range_of(i);
    return {larger(range.first - start, 0), smaller(range.end - start, kTileKeys)};
  }

  // score[b] = the scaled scores, minus infinity for keys outside the range; returns the largest.
  float scaled_scores(const float* scores, KeyRange keys, V (&score)[kKeyBlocks]) const {
    const V lowest = splat(-__builtin_inff());
    V best = lowest;
#pragma GCC unroll 4
    for (int b = 0; b < kKeyBlocks; ++b) score[b] = mul(load(scores + b * kLanes), splat(args.scale));
    if (keys.first > 0 || keys.end < kTileKeys) {
      static const float kLaneIndex[kLanes] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
      const V from = splat(static_cast<float>(keys.first));
      const V to = splat(static_cast<float>(keys.end));
#pragma GCC unroll 4
      for (int b = 0; b < kKeyBlocks; ++b) {
        const V index = add(load(kLaneIndex), splat(static_cast<float>(b * kLanes)));
        score[b] = select_lt(index, from, lowest, select_lt(index, to, score[b], lowest));
      }
    }
#pragma GCC unroll 4
    for (int b = 0; b < kKeyBlocks; ++b) best = max(score[b], best);
    return reduce_max(best);
  }

  // Turns the 64 scores into probabilities relative to the new maximum; rescales what was summed so far.
  void softmax_step(std::int64_t i, float* scores, KeyRange keys) {
    if (keys.first >= keys.end) return;
    V score[kKeyBlocks];
    const float tile_top = scaled_scores(scores, keys, score);
    const float old_top = m.top[i];
    const float top = tile_top > old_top ? tile_top : old_top;
    V total = load(m.total + i * kLanes);
    if (top != old_top) {  // else the factor is exactly 1
      m.top[i] = top;
      const V rescale = exp(splat(old_top - top));
      total = mul(total, rescale);
      float* acc = m.acc + i * shape.padded();
      for (std::int64_t b = 0; b < shape.dim_blocks; ++b) store(acc + b * kLanes, mul(load(acc + b * kLanes), rescale));
    }
#pragma GCC unroll 4
    for (int b = 0; b < kKeyBlocks; ++b) {
      const V p = exp(sub(score[b], splat(top)));
      total = add(total, p);
      store(scores + b * kLanes, p);
    }
    store(m.total + i * kLanes, total);
  }

  // acc += probabilities * values over the keys of the piece, for `height` vectors from `first`; those
  // with the same range of keys go together.
  void add_values(std::int64_t first, int height, std::int64_t start, KeyRange piece) {
    const std::int64_t block_stride = (piece.end - piece.first) * kLanes;
    for (int r = 0; r < height;) {
      const KeyRange own = tile_range(first + r, start);
      int end = r + 1;
      while (end < height && same(own, tile_range(first + end, start))) ++end;
      const KeyRange keys{larger(own.first, piece.first), smaller(own.end, piece.end)};
      if (keys.first < keys.end) {
        const Blocks<float> values{m.values + (keys.first - piece.first) * kLanes, block_stride, shape.dim_blocks,
                                   keys.end - keys.first};
        multiply<float, kTileKeys>(m.scores + r * kTileKeys + keys.first, end - r, values,
                                   m.acc + (first + r) * shape.padded(), shape.padded(), true, nothing_ahead(m.values));
      }
      r = end;
    }
  }

  void finish(std::int64_t i) {
    const V scale = splat(1.0f / reduce_add(load(m.total + i * kLanes)));
    float* out = args.out.data + offset_of(i, args.out.stride);
    for (std::int64_t b = 0; b < shape.dim_blocks; ++b) {
      const V acc = load(m.acc + i * shape.padded() + b * kLanes);
      store_part(out + b * kLanes, mul(acc, scale), shape.dim - b * kLanes);
    }
  }
};

struct AttentionJob {
  const AttentionArgs& args;
  const AttentionShape& shape;
  const std::int64_t* first_items;  // [num_seqs]

  std::int64_t chunks(const SeqSpan& seq) const { return ceil_div(seq.rows, shape.chunk_rows); }

  void item(std::int64_t number, std::byte* memory) const {
    const std::int32_t s = group_of(args.num_seqs, number, [&](std::int32_t i) { return first_items[i]; });
    const SeqSpan& seq = args.seqs[s];
    const std::int64_t local = number - first_items[s];
    // Late rows have most keys: they are handed out first.
    const std::int64_t chunk = chunks(seq) - 1 - local / args.pages.kv_heads;
    const std::int64_t row = chunk * shape.chunk_rows;
    const std::int64_t rows = smaller(shape.chunk_rows, seq.rows - row);
    const AttentionItem item{&seq, local % args.pages.kv_heads, row, rows * shape.group};
    Carver carver(memory);
    const AttentionMemory m(carver, shape);
    switch (args.pages.type) {
      case DType::kF16: AttentionWorker<F16>{args, shape, item, m}.run(); break;
      case DType::kBF16: AttentionWorker<Bf16>{args, shape, item, m}.run(); break;
      default: AttentionWorker<float>{args, shape, item, m}.run();
    }
  }
};

inline void attention(Stream& stream, const AttentionArgs& args) {
  CHECK(args.pages.kv_heads > 0 && args.heads % args.pages.kv_heads == 0);
  OpRun op(stream);
  const AttentionShape shape(args);
  Carver measure(nullptr);
  const AttentionMemory sizes(measure, shape);
  op.reserve(args.num_seqs * static_cast<std::int64_t>(sizeof(std::int64_t)), measure.used());
  std::int64_t* first_items = reinterpret_cast<std::int64_t*>(op.shared());
  AttentionJob job{args, shape, first_items};
  std::int64_t items = 0;
  std::int64_t work = 0;
  for (std::int32_t s = 0; s < args.num_seqs; ++s) {
    const SeqSpan& seq = args.seqs[s];
    first_items[s] = items;
    items += job.chunks(seq) * args.pages.kv_heads;
    work += static_cast<std::int64_t>(seq.rows) * (seq.first_position + seq.rows) * args.heads * shape.dim * 2;
  }
  op.run(job, items, work);
}
