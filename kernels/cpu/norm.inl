// RMSNorm. The sum of squares of a row uses four vectors in turn, folded in a fixed order.

FOREGATE_INLINE float sum_of_squares(const float* x, std::int64_t cols) {
  V sum[4] = {zero(), zero(), zero(), zero()};
  std::int64_t c = 0;
  for (; c + 4 * kLanes <= cols; c += 4 * kLanes) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const V v = load(x + c + i * kLanes);
      sum[i] = fma(v, v, sum[i]);
    }
  }
  for (; c < cols; c += kLanes) {
    const V v = load_part(x + c, cols - c);
    sum[0] = fma(v, v, sum[0]);
  }
  return reduce_add(add(add(sum[0], sum[1]), add(sum[2], sum[3])));
}

FOREGATE_INLINE void norm_row(const float* x, const float* weight, float eps, std::int64_t cols, float* out) {
  const float mean = sum_of_squares(x, cols) / static_cast<float>(cols);
  const V factor = splat(1.0f / __builtin_sqrtf(mean + eps));
  for (std::int64_t c = 0; c < cols; c += kLanes) {
    const std::int64_t n = cols - c;
    store_part(out + c, mul(mul(load_part(x + c, n), factor), load_part(weight + c, n)), n);
  }
}

FOREGATE_INLINE void add_row(float* x, const float* y, std::int64_t cols) {
  for (std::int64_t c = 0; c < cols; c += kLanes) {
    const std::int64_t n = cols - c;
    store_part(x + c, add(load_part(x + c, n), load_part(y + c, n)), n);
  }
}

struct RmsNormJob {
  const RmsNormArgs& args;
  void item(std::int64_t row, std::byte*) const {
    const float* x = args.x.data + row * args.x.stride;
    if (args.residual.data != nullptr) {
      float* residual = args.residual.data + row * args.residual.stride;
      add_row(residual, x, args.x.cols);
      x = residual;
    }
    norm_row(x, args.weight, args.eps, args.x.cols, args.out.data + row * args.out.stride);
  }
};

inline void rms_norm(Stream& stream, const RmsNormArgs& args) {
  RmsNormJob job{args};
  OpRun(stream).run(job, args.x.rows, args.x.rows * args.x.cols);
}

struct HeadNormJob {
  const HeadNormArgs& args;
  void item(std::int64_t row, std::byte*) const {
    for (std::int32_t h = 0; h < args.heads; ++h) {
      float* x = args.x.data + row * args.x.stride + static_cast<std::int64_t>(h) * args.head_dim;
      norm_row(x, args.weight, args.eps, args.head_dim, x);
    }
  }
};

inline void head_norm(Stream& stream, const HeadNormArgs& args) {
  HeadNormJob job{args};
  OpRun(stream).run(job, args.x.rows, args.x.rows * args.x.cols);
}
