// fp8 weights: the products of matmul.inl with scale * value as the weight. One tile takes them as they stream by; for
// more they are widened, 128 columns at a time, into a panel that the tiles pass by.
constexpr FormatUnit kFp8Unit = format_unit(WeightFormat::kFp8);
static_assert(kFp8Unit.cols == kPanelSteps);
constexpr float kF8Unit = 256.0f;  // load() gives values less by that

FOREGATE_INLINE void widen_fp8(const std::byte* unit, float* to) {
  const V scale = mul(load(reinterpret_cast<const float*>(unit)), splat(kF8Unit));
  const F8* codes = reinterpret_cast<const F8*>(unit + 64);
  for (std::int64_t k = 0; k < kPanelSteps; ++k) {
    __builtin_prefetch(reinterpret_cast<const char*>(codes + k * kLanes) + kFp8Unit.bytes, 0, 3);
    store(to + k * kLanes, mul(load(codes + k * kLanes), scale));
  }
}

struct Fp8Blocks {
  const std::byte* data;  // the first of `count` blocks of sixteen outputs
  std::int64_t count;
  std::int64_t cols;
  std::int64_t block_bytes() const { return cols / kFp8Unit.cols * kFp8Unit.bytes; }
};

template <int R, int B>
void stream_fp8_tile(const float* a, const Fp8Blocks& w, float* acc, std::int64_t acc_stride) {
  V sum[R][B];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
    for (int b = 0; b < B; ++b) sum[r][b] = zero();
  }
  const std::byte* units[B];
#pragma GCC unroll 16
  for (int b = 0; b < B; ++b) units[b] = w.data + b * w.block_bytes();
  for (std::int64_t k0 = 0; k0 < w.cols; k0 += kFp8Unit.cols) {
    V scale[B];
#pragma GCC unroll 16
    for (int b = 0; b < B; ++b) scale[b] = mul(load(reinterpret_cast<const float*>(units[b])), splat(kF8Unit));
    for (std::int64_t k = 0; k < kFp8Unit.cols; ++k) {
      V weights[B];
#pragma GCC unroll 16
      for (int b = 0; b < B; ++b) {
        const F8* codes = reinterpret_cast<const F8*>(units[b] + 64) + k * kLanes;
        __builtin_prefetch(codes + kPrefetchBytes, 0, 3);
        weights[b] = mul(load(codes), scale[b]);
      }
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const V x = splat(a[(k0 + k) * R + r]);
#pragma GCC unroll 16
        for (int b = 0; b < B; ++b) sum[r][b] = fma(x, weights[b], sum[r][b]);
      }
    }
#pragma GCC unroll 16
    for (int b = 0; b < B; ++b) units[b] += kFp8Unit.bytes;
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
    for (int b = 0; b < B; ++b) store(acc + r * acc_stride + b * kLanes, sum[r][b]);
  }
}

template <int R = kMaxRows>
void stream_fp8(const float* a, int height, Fp8Blocks w, float* acc, std::int64_t acc_stride) {
  if constexpr (R > 0) {
    if (height != R) return stream_fp8<R - 1>(a, height, w, acc, acc_stride);
    constexpr int kBlocks = R <= 4 ? 2 : 1;
    for (; w.count >= kBlocks; w.count -= kBlocks, w.data += kBlocks * w.block_bytes(), acc += kBlocks * kLanes) {
      stream_fp8_tile<R, kBlocks>(a, w, acc, acc_stride);
    }
    if (w.count > 0) stream_fp8_tile<R, 1>(a, w, acc, acc_stride);
  }
}

inline void multiply_fp8(const float* packed, const RowTiles& tiles, const Fp8Blocks& w, float* acc,
                         std::int64_t acc_stride, float* panel) {
  if (tiles.count == 1) return stream_fp8(packed, tiles.height(0), w, acc, acc_stride);
  constexpr std::int64_t kTogether = wide_blocks(kMaxRows);
  const std::byte* data = w.data;
  for (std::int64_t k0 = 0; k0 < w.cols; k0 += kPanelSteps, data += kFp8Unit.bytes) {
    for (std::int64_t b = 0; b < w.count; ++b) widen_fp8(data + b * w.block_bytes(), panel + b * kPanelSteps * kLanes);
    for (std::int64_t b = 0; b < w.count; b += kTogether) {
      const Blocks<float> part{panel + b * kPanelSteps * kLanes, kPanelSteps * kLanes, smaller(kTogether, w.count - b),
                               kPanelSteps};
      for (std::int64_t tile = 0; tile < tiles.count; ++tile) {
        const std::int64_t first = tiles.first(tile);
        const int height = tiles.height(tile);
        multiply<float>(PackedLeft{packed + first * w.cols + k0 * height}, height, part,
                        acc + first * acc_stride + b * kLanes, acc_stride, k0 > 0, nothing_ahead(packed));
      }
    }
  }
}

// All tiles times blocks [first_block, first_block + count) of a packed weight of any format.
inline void multiply_weight(const float* packed, const RowTiles& tiles, const PackedWeight& weight,
                            std::int64_t first_block, std::int64_t count, float* acc, std::int64_t acc_stride,
                            float* panel) {
  const std::int64_t stride = weight.cols * kLanes;
  const auto with = [&](const auto* data) {
    multiply_rows(packed, tiles, blocks_of(data + first_block * stride, stride, count, weight.cols), acc, acc_stride,
                  panel);
  };
  switch (weight.format) {
    case WeightFormat::kF32: with(reinterpret_cast<const float*>(weight.data)); break;
    case WeightFormat::kF16: with(reinterpret_cast<const F16*>(weight.data)); break;
    case WeightFormat::kBF16: with(reinterpret_cast<const Bf16*>(weight.data)); break;
    case WeightFormat::kFp8:
      return multiply_fp8(
          packed, tiles,
          {weight.data + first_block * packed_bytes(weight.format, kLanes, weight.cols), count, weight.cols}, acc,
          acc_stride, panel);
    default: CHECK(!is_quantized(weight.format));
  }
}

// Whether so many rows are taken where they lie, for a weight of this format.
FOREGATE_INLINE bool taken_as_they_lie(std::int64_t rows, WeightFormat format) {
  return rows <= kFewRows && format != WeightFormat::kFp8;
}

// Of a weight that is not fp8, where block `first` begins.
inline const std::byte* block_at(const PackedWeight& weight, std::int64_t first) {
  return weight.data + first * packed_bytes(weight.format, kLanes, weight.cols);
}

// A few rows times blocks [first_block, first_block + count) of a weight that is not fp8; `next` as in multiply_few.
inline void multiply_few_rows(const RowsLeft& left, int height, const PackedWeight& weight, std::int64_t first_block,
                              std::int64_t count, float* acc, std::int64_t acc_stride, const std::byte* next) {
  const std::int64_t stride = weight.cols * kLanes;
  const auto with = [&](const auto* data) {
    multiply_few(left, height, blocks_of(data + first_block * stride, stride, count, weight.cols), acc, acc_stride,
                 next);
  };
  switch (weight.format) {
    case WeightFormat::kF32: return with(reinterpret_cast<const float*>(weight.data));
    case WeightFormat::kF16: return with(reinterpret_cast<const F16*>(weight.data));
    default: CHECK(weight.format == WeightFormat::kBF16); with(reinterpret_cast<const Bf16*>(weight.data));
  }
}
