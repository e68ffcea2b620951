// linear with a quantized weight: rows become int8 once, then every item computes a few blocks of outputs for all rows.

// A block that is read once is fetched this far ahead.
constexpr std::int64_t kQuantAhead = 4096;
// Blocks of an item: with many rows they stay in the L2 cache, and with few a core reads a long run of one stream.
constexpr std::int64_t kQuantChunk = 8;

// Blocks of one item, of `blocks` in all; `unit` divides it. Enough items for all threads.
inline std::int64_t quant_chunk(std::int64_t rows, std::int64_t blocks, std::int64_t threads, std::int64_t unit) {
  const std::int64_t wanted = rows <= kQuantRows ? 4 * threads : 8 * threads;
  std::int64_t chunk = kQuantChunk;
  while (chunk > unit && ceil_div(blocks, chunk) < wanted) chunk /= 2;
  return chunk;
}

// Products of int8 in the time of one of f32, so that work says what it takes.
constexpr std::int64_t kIntegerGain = 4;

struct QuantPackJob {
  View2<const float> x;
  QuantTiles tiles;
  QuantRow* packed;
  void item(std::int64_t tile, std::byte*) const {
    const std::int64_t groups = x.cols / kQuantGroup;
    const int height = tiles.height(tile);
    QuantRow* to = packed + tile * kQuantRows * groups;
    for (std::int64_t r = 0; r < tiles.used(tile); ++r) {
      quantize_columns(x.data + (tile * kQuantRows + r) * x.stride, x.cols, to + r, height);
    }
    clear_filling(to, groups, tiles.used(tile), height);
  }
};

struct QuantLinearJob {
  const LinearArgs& args;
  std::int64_t first_row;
  std::int64_t chunk;
  QuantTiles tiles;
  const QuantRow* packed;

  void item(std::int64_t number, std::byte*) const {
    const std::int64_t groups = args.weight.cols / kQuantGroup;
    const std::int64_t blocks = ceil_div(args.weight.rows, kLanes);
    const std::int64_t end = smaller(number * chunk + chunk, blocks);
    alignas(64) float out[2][kBlockOut];
    for (std::int64_t tile = 0; tile < tiles.count(); ++tile) {
      for (std::int64_t b = number * chunk; b < end; b += 2) {
        const std::int64_t count = smaller(2, end - b);
        multiply_blocks(args.weight, b, count, packed + tile * kQuantRows * groups, tiles.height(tile), out,
                        tile == 0 ? kQuantAhead : 0);
        for (std::int64_t i = 0; i < count; ++i) {
          finish(out[i], first_row + tile * kQuantRows, tiles.used(tile), (b + i) * kLanes);
        }
      }
    }
  }

  void finish(const float* out, std::int64_t row, std::int64_t rows, std::int64_t n) const {
    const std::int64_t width = smaller(kLanes, args.weight.rows - n);
    const V bias = args.bias != nullptr ? load_part(args.bias + n, width) : zero();
    for (std::int64_t r = 0; r < rows; ++r) {
      float* y = args.y.data + (row + r) * args.y.stride + n;
      V value = load(out + r * kLanes);
      if (args.bias != nullptr) value = add(value, bias);
      if (args.accumulate) value = add(load_part(y, width), value);
      store_part(y, value, width);
    }
  }
};

inline void quant_linear(OpRun& op, const LinearArgs& args) {
  const std::int64_t k = args.weight.cols;
  const std::int64_t blocks = ceil_div(args.weight.rows, kLanes);
  const std::int64_t pass = smaller(args.x.rows, kRowsPerPass);
  const std::int64_t row_bytes = k / kQuantGroup * static_cast<std::int64_t>(sizeof(QuantRow));
  op.reserve(QuantTiles(pass).padded() * row_bytes, 0);
  for (std::int64_t first = 0; first < args.x.rows; first += kRowsPerPass) {
    const std::int64_t rows = smaller(kRowsPerPass, args.x.rows - first);
    const QuantTiles tiles(rows);
    QuantPackJob pack{
        {args.x.data + first * args.x.stride, rows, k, args.x.stride}, tiles, reinterpret_cast<QuantRow*>(op.shared())};
    op.run(pack, tiles.count(), rows * k);
    const std::int64_t chunk = quant_chunk(rows, blocks, op.threads(), 1);
    QuantLinearJob job{args, first, chunk, tiles, pack.packed};
    op.run(job, ceil_div(blocks, chunk), rows * k * args.weight.rows / kIntegerGain);
  }
}
