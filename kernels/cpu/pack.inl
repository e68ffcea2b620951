// pack_weight: one item packs one block of sixteen rows.

struct PackWeightJob {
  const PackWeightArgs& args;

  // Work memory: sixteen rows of blocks, one row of floats to quantize, and a unit of floats.
  static std::int64_t worker_bytes(const PackWeightArgs& args) {
    const DType type = format_dtype(args.format);
    if (!has_blocks(args.format) || args.source_type == type) return 0;
    const std::int64_t floats = args.cols + format_unit(args.format).cols * kLanes;
    return kLanes * dtype_row_bytes(type, args.cols) + floats * static_cast<std::int64_t>(sizeof(float)) + 192;
  }

  void item(std::int64_t block, std::byte* memory) const {
    if (has_blocks(args.format) && args.source_type == format_dtype(args.format)) return move_blocks(block);
    switch (args.source_type) {
      case DType::kF16: return from<F16>(block, memory);
      case DType::kBF16: return from<Bf16>(block, memory);
      default: CHECK(args.source_type == DType::kF32); from<float>(block, memory);
    }
  }

  int rows_of(std::int64_t block) const { return static_cast<int>(smaller(kLanes, args.rows - block * kLanes)); }
  std::byte* packed_at(std::int64_t block) const {
    return static_cast<std::byte*>(args.packed) + block * packed_bytes(args.format, kLanes, args.cols);
  }

  void move_blocks(std::int64_t block) const {
    const std::int64_t row_bytes = dtype_row_bytes(args.source_type, args.cols);
    const std::byte* source = static_cast<const std::byte*>(args.source) + block * kLanes * row_bytes;
    pack_block(args.format, source, rows_of(block), args.cols, packed_at(block));
  }

  template <class S>
  void from(std::int64_t block, std::byte* memory) const {
    const S* source = static_cast<const S*>(args.source) + block * kLanes * args.cols;
    switch (args.format) {
      case WeightFormat::kF32: return copy<S, float>(source, block);
      case WeightFormat::kF16: return copy<S, F16>(source, block);
      case WeightFormat::kBF16: return copy<S, Bf16>(source, block);
      default: quantize(source, block, memory);
    }
  }

  template <class S, class D>
  void copy(const S* source, std::int64_t block) const {
    const int rows = rows_of(block);
    D* packed = reinterpret_cast<D*>(packed_at(block));
    for (std::int64_t c = 0; c < args.cols; ++c) {
      S values[kLanes] = {};
      for (int r = 0; r < rows; ++r) values[r] = source[r * args.cols + c];
      store(packed + c * kLanes, load(values));
    }
  }

  // As many units as can be taken with rows as lanes are; others one row after another.
  template <class S>
  void quantize(const S* source, std::int64_t block, std::byte* memory) const {
    const FormatUnit unit = format_unit(args.format);
    Carver carver(memory);
    float* values = carver.take<float>(args.cols);
    float* turned = carver.take<float>(unit.cols * kLanes);
    std::byte* rows = carver.take<std::byte>(kLanes * dtype_row_bytes(format_dtype(args.format), args.cols));
    if (!quantizes_lanes(args.format) || rows_of(block) < kLanes) {
      return quantize_rows(source, rows_of(block), args.cols, values, rows, packed_at(block));
    }
    std::byte* packed = packed_at(block);
    for (std::int64_t c = 0; c < args.cols; c += unit.cols, packed += unit.bytes) {
      for (std::int64_t k = 0; k < unit.cols; k += kLanes) {
        V lanes[kLanes];
        for (int r = 0; r < kLanes; ++r) lanes[r] = load(source + r * args.cols + c + k);
        store_transposed(lanes, turned + k * kLanes);
      }
      if (all_finite(turned, unit.cols)) {
        quantize_unit(args.format, turned, packed);
      } else {
        quantize_rows(source + c, kLanes, unit.cols, values, rows, packed);
      }
    }
  }

  // The first `count` rows of `source`, `cols` columns of each.
  template <class S>
  void quantize_rows(const S* source, int count, std::int64_t cols, float* values, std::byte* rows,
                     std::byte* packed) const {
    const DType type = format_dtype(args.format);
    const std::int64_t row_bytes = dtype_row_bytes(type, cols);
    for (int r = 0; r < count; ++r) {
      const S* row = source + r * args.cols;
      for (std::int64_t c = 0; c < cols; c += kLanes) store(values + c, load(row + c));
      quantize_row(type, values, cols, rows + r * row_bytes);
    }
    pack_block(args.format, rows, count, cols, packed);
  }
};

inline void pack_weight(Stream& stream, const PackWeightArgs& args) {
  PackWeightJob job{args};
  OpRun op(stream);
  op.reserve(0, PackWeightJob::worker_bytes(args));
  op.run(job, ceil_div(args.rows, kLanes), args.rows * args.cols);
}
