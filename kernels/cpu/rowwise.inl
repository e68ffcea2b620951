// Ops that touch each row once: embed, add, gated add, gather, combine, rope, kv_write.

struct EmbedJob {
  const EmbedArgs& args;
  void item(std::int64_t t, std::byte*) const {
    switch (args.table.format) {
      case WeightFormat::kF32: copy<float>(t); break;
      case WeightFormat::kF16: copy<F16>(t); break;
      case WeightFormat::kBF16: copy<Bf16>(t); break;
      default:
        CHECK(args.tokens[t] >= 0 && args.tokens[t] < args.table.rows);
        unpack_row(args.table, args.tokens[t], args.out.data + t * args.out.stride);
    }
  }
  // A table row is one lane of its block: sixteen columns are gathered, then widened together.
  template <class W>
  void copy(std::int64_t t) const {
    const std::int64_t token = args.tokens[t];
    CHECK(token >= 0 && token < args.table.rows);
    const std::int64_t cols = args.table.cols;
    const W* from = reinterpret_cast<const W*>(args.table.data) + token / kLanes * cols * kLanes + token % kLanes;
    float* out = args.out.data + t * args.out.stride;
    for (std::int64_t c = 0; c < cols; c += kLanes) {
      const std::int64_t n = smaller(kLanes, cols - c);
      W values[kLanes] = {};
      for (std::int64_t i = 0; i < n; ++i) values[i] = from[(c + i) * kLanes];
      store_part(out + c, load(values), n);
    }
  }
};

inline void embed(Stream& stream, const EmbedArgs& args) {
  EmbedJob job{args};
  OpRun(stream).run(job, args.out.rows, args.out.rows * args.out.cols * 8);
}

struct AddJob {
  const AddArgs& args;
  void item(std::int64_t t, std::byte*) const {
    add_row(args.x.data + t * args.x.stride, args.y.data + t * args.y.stride, args.x.cols);
  }
};

inline void add_rows(Stream& stream, const AddArgs& args) {
  AddJob job{args};
  OpRun(stream).run(job, args.x.rows, args.x.rows * args.x.cols);
}

struct SigmoidGateAddJob {
  const SigmoidGateAddArgs& args;
  void item(std::int64_t t, std::byte*) const {
    const V gate = sigmoid(splat(args.gate.data[t * args.gate.stride]));
    const float* y = args.y.data + t * args.y.stride;
    float* out = args.out.data + t * args.out.stride;
    for (std::int64_t c = 0; c < args.y.cols; c += kLanes) {
      const std::int64_t n = args.y.cols - c;
      store_part(out + c, fma(gate, load_part(y + c, n), load_part(out + c, n)), n);
    }
  }
};

inline void sigmoid_gate_add(Stream& stream, const SigmoidGateAddArgs& args) {
  SigmoidGateAddJob job{args};
  OpRun(stream).run(job, args.y.rows, args.y.rows * args.y.cols);
}

struct GatherRowsJob {
  const GatherRowsArgs& args;
  void item(std::int64_t i, std::byte*) const {
    const std::int64_t row = args.rows[i];
    CHECK(row >= 0 && row < args.x.rows);
    __builtin_memcpy(args.out.data + i * args.out.stride, args.x.data + row * args.x.stride,
                     static_cast<std::size_t>(args.out.cols) * sizeof(float));
  }
};

inline void gather_rows(Stream& stream, const GatherRowsArgs& args) {
  GatherRowsJob job{args};
  OpRun(stream).run(job, args.out.rows, args.out.rows * args.out.cols);
}

struct MoeCombineJob {
  const MoeCombineArgs& args;
  void item(std::int64_t t, std::byte*) const {
    float* out = args.out.data + t * args.out.stride;
    for (std::int64_t c = 0; c < args.out.cols; c += kLanes) {
      const std::int64_t n = args.out.cols - c;
      V sum = zero();
      for (std::int32_t s = 0; s < args.top_k; ++s) {
        const std::int64_t assignment = t * args.top_k + s;
        const V y = load_part(args.y.data + assignment * args.y.stride + c, n);
        sum = fma(splat(args.weights[assignment]), y, sum);
      }
      if (args.accumulate) sum = add(load_part(out + c, n), sum);
      store_part(out + c, sum, n);
    }
  }
};

inline void moe_combine(Stream& stream, const MoeCombineArgs& args) {
  MoeCombineJob job{args};
  OpRun(stream).run(job, args.out.rows, args.y.rows * args.y.cols);
}

struct RopeJob {
  const RopeArgs& args;
  void item(std::int64_t t, std::byte*) const {
    const std::int64_t half = args.rotary_dim / 2;
    for (std::int32_t h = 0; h < args.heads; ++h) {
      float* low = args.x.data + t * args.x.stride + static_cast<std::int64_t>(h) * args.head_dim;
      float* high = low + half;
      for (std::int64_t i = 0; i < half; i += kLanes) {
        const std::int64_t n = smaller(kLanes, half - i);
        const V c = load_part(args.cos + t * half + i, n);
        const V s = load_part(args.sin + t * half + i, n);
        const V a = load_part(low + i, n);
        const V b = load_part(high + i, n);
        store_part(low + i, sub(mul(a, c), mul(b, s)), n);
        store_part(high + i, add(mul(b, c), mul(a, s)), n);
      }
    }
  }
};

inline void rope(Stream& stream, const RopeArgs& args) {
  RopeJob job{args};
  OpRun(stream).run(job, args.x.rows, args.x.rows * args.heads * args.rotary_dim);
}

// One item: one kv head of up to 16 rows. Rows that fill a group of key positions are turned together.
struct KvWriteJob {
  const KvWriteArgs& args;
  static constexpr std::int64_t kRows = kKeyGroup;

  void item(std::int64_t number, std::byte*) const {
    const std::int64_t head = number % args.pages.kv_heads;
    const std::int64_t first = number / args.pages.kv_heads * kRows;
    const std::int64_t rows = smaller(kRows, args.k.rows - first);
    switch (args.pages.type) {
      case DType::kF16: copy<F16>(head, first, rows); break;
      case DType::kBF16: copy<Bf16>(head, first, rows); break;
      case DType::kI8: quantize(head, first, rows); break;
      default: copy<float>(head, first, rows);
    }
  }

  template <class T>
  void copy(std::int64_t head, std::int64_t first, std::int64_t rows) const {
    const KvPages& pages = args.pages;
    T* keys = static_cast<T*>(pages.k);
    T* values = static_cast<T*>(pages.v);
    const bool whole = fills_group(first, rows);
    for (std::int64_t t = first; t < first + rows; ++t) {
      const std::int64_t block = args.slot_mapping[t] / pages.block_size;
      const std::int64_t position = args.slot_mapping[t] % pages.block_size;
      copy_row(args.v.data + t * args.v.stride + head * pages.head_dim,
               values + value_index(pages, block, head, position));
      if (whole) continue;
      scatter_key(args.k.data + t * args.k.stride + head * pages.head_dim,
                  keys + key_index(pages, block, head, position), key_step(pages, position));
    }
    if (!whole) return;
    const std::int64_t slot = args.slot_mapping[first];
    turn_keys(first, head, keys + value_index(pages, slot / pages.block_size, head, slot % pages.block_size));
  }

  void quantize(std::int64_t head, std::int64_t first, std::int64_t rows) const {
    const KvPages& pages = args.pages;
    std::int8_t* keys = static_cast<std::int8_t*>(pages.k);
    std::int8_t* values = static_cast<std::int8_t*>(pages.v);
    for (std::int64_t t = first; t < first + rows; ++t) {
      const std::int64_t block = args.slot_mapping[t] / pages.block_size;
      const std::int64_t position = args.slot_mapping[t] % pages.block_size;
      const std::int64_t at = scale_index(pages, block, head, position);
      pages.k_scales[at] = quantize_row(args.k.data + t * args.k.stride + head * pages.head_dim,
                                        keys + key_index(pages, block, head, position), key_step(pages, position));
      pages.v_scales[at] = quantize_row(args.v.data + t * args.v.stride + head * pages.head_dim,
                                        values + value_index(pages, block, head, position), 1);
    }
  }

  // Code i goes to to[i * step]; returns the scale (KvPages).
  float quantize_row(const float* from, std::int8_t* to, std::int64_t step) const {
    const std::int64_t dim = args.pages.head_dim;
    V largest = zero();
    V poison = zero();  // 0 * x is NaN for a value that is not finite
    for (std::int64_t d = 0; d < dim; d += kLanes) {
      const V x = load_part(from + d, dim - d);
      poison = add(poison, mul(x, zero()));
      largest = max(largest, max(x, sub(zero(), x)));
    }
    const bool finite = reduce_add(poison) == 0.0f;
    const float amax = reduce_max(largest);
    const V inverse = splat(finite ? inverse_scale(amax) : 0.0f);
    for (std::int64_t d = 0; d < dim; d += kLanes) {
      const std::int64_t n = smaller(kLanes, dim - d);
      std::int8_t codes[kLanes] = {};
      if (finite) round_to_int8(mul(load_part(from + d, n), inverse), codes);
      for (std::int64_t i = 0; i < n; ++i) to[(d + i) * step] = codes[i];
    }
    return finite ? amax / 127.0f : __builtin_nanf("");
  }

  bool fills_group(std::int64_t first, std::int64_t rows) const {
    if (rows < kRows || args.pages.block_size % kKeyGroup != 0 || args.slot_mapping[first] % kKeyGroup != 0)
      return false;
    for (std::int64_t i = 1; i < kRows; ++i) {
      if (args.slot_mapping[first + i] != args.slot_mapping[first] + i) return false;
    }
    return true;
  }

  template <class T>
  void copy_row(const float* from, T* to) const {
    for (std::int64_t d = 0; d < args.pages.head_dim; d += kLanes) {
      const std::int64_t n = args.pages.head_dim - d;
      store_part(to + d, load_part(from + d, n), n);
    }
  }

  template <class T>
  void scatter_key(const float* from, T* to, std::int64_t step) const {
    const std::int64_t dim = args.pages.head_dim;
    for (std::int64_t d = 0; d < dim; d += kLanes) {
      T narrow[kLanes];
      store(narrow, load_part(from + d, dim - d));
      for (std::int64_t i = 0; i < smaller(kLanes, dim - d); ++i) to[(d + i) * step] = narrow[i];
    }
  }

  template <class T>
  void turn_keys(std::int64_t first, std::int64_t head, T* to) const {
    const std::int64_t dim = args.pages.head_dim;
    for (std::int64_t d = 0; d < dim; d += kLanes) {
      const std::int64_t n = smaller(kLanes, dim - d);
      V rows[kLanes];
      for (int lane = 0; lane < kLanes; ++lane) {
        rows[lane] = load_part(args.k.data + (first + lane) * args.k.stride + head * dim + d, n);
      }
      float turned[kLanes * kLanes];
      store_transposed(rows, turned);
      for (std::int64_t i = 0; i < n; ++i) store(to + (d + i) * kLanes, load(turned + i * kLanes));
    }
  }
};

inline void kv_write(Stream& stream, const KvWriteArgs& args) {
  CHECK(args.k.cols == std::int64_t{args.pages.kv_heads} * args.pages.head_dim);
  KvWriteJob job{args};
  OpRun(stream).run(job, ceil_div(args.k.rows, KvWriteJob::kRows) * args.pages.kv_heads, args.k.rows * args.k.cols * 2);
}
