// y = x W^T (+ bias) (+ y): rows are packed once, unless they are few; then every item computes a few blocks of outputs
// for all rows.

struct PackRowsJob {
  View2<const float> x;
  RowTiles tiles;
  float* packed;
  void item(std::int64_t tile, std::byte*) const {
    const std::int64_t first = tiles.first(tile);
    const int height = tiles.height(tile);
    const float* rows[kMaxRows];
    for (int r = 0; r < height; ++r) rows[r] = x.data + (first + r) * x.stride;
    pack_tile(rows, height, x.cols, packed + first * x.cols);
  }
};

struct LinearJob {
  const LinearArgs& args;
  std::int64_t first_row;
  std::int64_t rows;
  std::int64_t chunk;  // blocks of one item
  std::int64_t threads;
  RowTiles tiles;
  const float* packed;  // null: the rows are few

  static std::int64_t worker_bytes(std::int64_t rows, std::int64_t chunk) {
    return (rows * chunk * kLanes + panel_floats(chunk)) * static_cast<std::int64_t>(sizeof(float)) + 128;
  }

  void item(std::int64_t number, std::byte* memory) const {
    const std::int64_t blocks = ceil_div(args.weight.rows, kLanes);
    const std::int64_t first = number * chunk;
    const std::int64_t count = smaller(chunk, blocks - first);
    Carver carver(memory);
    float* panel = carver.take<float>(panel_floats(chunk));
    float* acc = carver.take<float>(rows * chunk * kLanes);
    if (packed == nullptr) {
      multiply_as_they_lie(first, count, blocks, acc);
    } else {
      multiply_weight(packed, tiles, args.weight, first, count, acc, chunk * kLanes, panel);
    }
    for (std::int64_t b = 0; b < count; ++b) {
      const std::int64_t n = (first + b) * kLanes;
      finish_block(acc + b * kLanes, n, smaller(kLanes, args.weight.rows - n));
    }
  }

  // What a thread will read next is about where all of them have had an item.
  void multiply_as_they_lie(std::int64_t first, std::int64_t count, std::int64_t blocks, float* acc) const {
    RowsLeft left{};
    for (std::int64_t r = 0; r < rows; ++r) left.row[r] = args.x.data + (first_row + r) * args.x.stride;
    const std::int64_t next = first + threads * chunk;
    multiply_few_rows(left, static_cast<int>(rows), args.weight, first, count, acc, chunk * kLanes,
                      next + count <= blocks ? block_at(args.weight, next) : nullptr);
  }

  void finish_block(const float* acc, std::int64_t n, std::int64_t width) const {
    const V bias = args.bias != nullptr ? load_part(args.bias + n, width) : zero();
    for (std::int64_t t = 0; t < rows; ++t) {
      float* y = args.y.data + (first_row + t) * args.y.stride + n;
      V value = load(acc + t * chunk * kLanes);
      if (args.bias != nullptr) value = add(value, bias);
      if (args.accumulate) value = add(load_part(y, width), value);
      store_part(y, value, width);
    }
  }
};

inline void linear(Stream& stream, const LinearArgs& args) {
  OpRun op(stream);
  if (is_quantized(args.weight.format)) return quant_linear(op, args);
  const std::int64_t k = args.weight.cols;
  const std::int64_t blocks = ceil_div(args.weight.rows, kLanes);
  const std::int64_t pass = smaller(args.x.rows, kRowsPerPass);
  const std::int64_t chunk = chunk_blocks(pass, blocks, op.threads());
  const bool few = taken_as_they_lie(pass, args.weight.format);
  op.reserve(!few && pass > 1 ? pass * k * static_cast<std::int64_t>(sizeof(float)) : 0,
             LinearJob::worker_bytes(pass, chunk));
  for (std::int64_t first = 0; first < args.x.rows; first += kRowsPerPass) {
    const std::int64_t rows = smaller(kRowsPerPass, args.x.rows - first);
    const RowTiles tiles(rows);
    const float* packed = args.x.data + first * args.x.stride;
    if (!few && rows > 1) {
      PackRowsJob pack{{packed, rows, k, args.x.stride}, tiles, reinterpret_cast<float*>(op.shared())};
      op.run(pack, tiles.count, rows * k / 4);
      packed = pack.packed;
    }
    LinearJob job{args, first, rows, chunk, op.threads(), tiles, few ? nullptr : packed};
    op.run(job, ceil_div(blocks, chunk), rows * k * args.weight.rows);
  }
}
