// y = x W^T (+ bias) (+ y): rows are packed once, then every item computes a few blocks of outputs for all rows.

// Rows of one pass, so that the packed activations stay in the cache.
constexpr std::int64_t kRowsPerPass = 512;

struct PackRowsJob {
  View2<const float> x;
  RowTiles tiles;
  float* packed;
  void item(std::int64_t tile, std::byte*) const {
    const std::int64_t first = tiles.first(tile);
    pack_tile(x, nullptr, first, tiles.height(tile), packed + first * x.cols);
  }
};

struct LinearJob {
  const LinearArgs& args;
  std::int64_t first_row;
  std::int64_t rows;
  RowTiles tiles;
  const float* packed;

  static std::int64_t worker_bytes(std::int64_t rows) {
    return (rows * kChunkBlocks * kLanes + kPanelFloats) * static_cast<std::int64_t>(sizeof(float)) + 64;
  }

  void item(std::int64_t chunk, std::byte* memory) const {
    const std::int64_t blocks = ceil_div(args.weight.rows, kLanes);
    const std::int64_t first = chunk * kChunkBlocks;
    const std::int64_t count = smaller(kChunkBlocks, blocks - first);
    Carver carver(memory);
    float* panel = carver.take<float>(kPanelFloats);
    float* acc = carver.take<float>(rows * kChunkBlocks * kLanes);
    multiply_weight(packed, tiles, args.weight, first, count, acc, kChunkBlocks * kLanes, panel);
    for (std::int64_t b = 0; b < count; ++b) {
      const std::int64_t n = (first + b) * kLanes;
      finish_block(acc + b * kLanes, n, smaller(kLanes, args.weight.rows - n));
    }
  }

  void finish_block(const float* acc, std::int64_t n, std::int64_t width) const {
    const V bias = args.bias != nullptr ? load_part(args.bias + n, width) : zero();
    for (std::int64_t t = 0; t < rows; ++t) {
      float* y = args.y.data + (first_row + t) * args.y.stride + n;
      V value = load(acc + t * kChunkBlocks * kLanes);
      if (args.bias != nullptr) value = add(value, bias);
      if (args.accumulate) value = add(load_part(y, width), value);
      store_part(y, value, width);
    }
  }
};

inline void linear(Stream& stream, const LinearArgs& args) {
  OpRun op(stream);
  const std::int64_t k = args.weight.cols;
  const std::int64_t chunks = ceil_div(ceil_div(args.weight.rows, kLanes), kChunkBlocks);
  const std::int64_t pass = smaller(args.x.rows, kRowsPerPass);
  op.reserve(pass > 1 ? pass * k * static_cast<std::int64_t>(sizeof(float)) : 0, LinearJob::worker_bytes(pass));
  for (std::int64_t first = 0; first < args.x.rows; first += kRowsPerPass) {
    const std::int64_t rows = smaller(kRowsPerPass, args.x.rows - first);
    const RowTiles tiles(rows);
    const float* packed = args.x.data + first * args.x.stride;
    if (rows > 1) {
      PackRowsJob pack{{packed, rows, k, args.x.stride}, tiles, reinterpret_cast<float*>(op.shared())};
      op.run(pack, tiles.count, rows * k / 4);
      packed = pack.packed;
    }
    LinearJob job{args, first, rows, tiles, packed};
    op.run(job, chunks, rows * k * args.weight.rows);
  }
}
