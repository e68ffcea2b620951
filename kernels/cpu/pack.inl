// pack_weight: one item packs one block of sixteen rows.

struct PackWeightJob {
  const PackWeightArgs& args;

  // Work memory: sixteen rows of blocks, and one row of floats to quantize.
  static std::int64_t worker_bytes(const PackWeightArgs& args) {
    const DType type = format_dtype(args.format);
    if (!is_quantized(args.format) || args.source_type == type) return 0;
    return kLanes * dtype_row_bytes(type, args.cols) + args.cols * static_cast<std::int64_t>(sizeof(float)) + 128;
  }

  void item(std::int64_t block, std::byte* memory) const {
    if (is_quantized(args.format) && args.source_type == format_dtype(args.format)) return move_blocks(block);
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

  template <class S>
  void quantize(const S* source, std::int64_t block, std::byte* memory) const {
    const DType type = format_dtype(args.format);
    const std::int64_t row_bytes = dtype_row_bytes(type, args.cols);
    Carver carver(memory);
    float* values = carver.take<float>(args.cols);
    std::byte* rows = carver.take<std::byte>(kLanes * row_bytes);
    for (int r = 0; r < rows_of(block); ++r) {
      const S* row = source + r * args.cols;
      for (std::int64_t c = 0; c < args.cols; c += kLanes) {
        const std::int64_t n = smaller(kLanes, args.cols - c);
        store_part(values + c, load_part(row + c, n), n);
      }
      quantize_row(type, values, args.cols, rows + r * row_bytes);
    }
    pack_block(args.format, rows, rows_of(block), args.cols, packed_at(block));
  }
};

inline void pack_weight(Stream& stream, const PackWeightArgs& args) {
  PackWeightJob job{args};
  OpRun op(stream);
  op.reserve(0, PackWeightJob::worker_bytes(args));
  op.run(job, ceil_div(args.rows, kLanes), args.rows * args.cols);
}
