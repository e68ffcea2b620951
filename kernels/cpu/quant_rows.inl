// Activations for products with quantized weights: int8 in groups of 32 columns (quant.h), and tiles of rows.

// A group of one row. One cache line, so that a tile streams by without a split.
struct alignas(64) QuantRow {
  std::int8_t q[kQuantGroup];
  float a;                  // x = a * q
  float a_sum;              // a * sum(q)
  std::int32_t minus32[2];  // -32 * sum(q) of columns 0-15 and 16-31: what the offset of a code takes away
  std::int32_t minus8;      // -8, -12, -16 and -128 times sum(q)
  std::int32_t minus12;
  std::int32_t minus16;
  std::int32_t minus128;
};
static_assert(sizeof(QuantRow) == kQuantRowBytes);

// 127 / amax, or 0 where that is beyond f32: the codes of such a group are 0.
FOREGATE_INLINE float inverse_scale(float amax) {
  const float inverse = 127.0f / amax;
  return inverse <= 3.4028234e38f ? inverse : 0.0f;
}

// x[0 .. 31] as a group.
inline void quantize_group(const float* x, QuantRow& out) {
  const V low = load(x);
  const V high = load(x + kLanes);
  const V none = zero();
  // 0 * x is NaN for a value that is not finite: it spoils the scale, and with it the row.
  const float poison = reduce_add(add(mul(low, none), mul(high, none)));
  const float amax = reduce_max(max(max(low, sub(none, low)), max(high, sub(none, high))));
  if (poison != 0.0f) {
    out = QuantRow{};
    out.a = poison;
    return;
  }
  const float inverse = inverse_scale(amax);
  std::int32_t sums[2];
  sums[0] = round_to_int8(mul(low, splat(inverse)), out.q);
  sums[1] = round_to_int8(mul(high, splat(inverse)), out.q + kLanes);
  const std::int32_t sum = sums[0] + sums[1];
  out.a = amax / 127.0f;
  out.a_sum = out.a * static_cast<float>(sum);
  out.minus32[0] = -32 * sums[0];
  out.minus32[1] = -32 * sums[1];
  out.minus8 = -8 * sum;
  out.minus12 = -12 * sum;
  out.minus16 = -16 * sum;
  out.minus128 = -128 * sum;
}

// Group g of the row goes to out[g * step].
inline void quantize_columns(const float* x, std::int64_t cols, QuantRow* out, std::int64_t step) {
  for (std::int64_t g = 0; g < cols / kQuantGroup; ++g) quantize_group(x + g * kQuantGroup, out[g * step]);
}

// Heights that the kernel is built for; a tile is filled up with zero rows to the next one.
constexpr int quant_height(std::int64_t rows) {
  return rows <= 4 ? static_cast<int>(rows) : rows <= 6 ? 6 : rows <= 8 ? 8 : rows <= 12 ? 12 : 16;
}

// Rows in tiles of kQuantRows, the last one lower. Tiles lie one after the other, each [group][height].
struct QuantTiles {
  std::int64_t rows;
  explicit QuantTiles(std::int64_t all) : rows(all) {}
  std::int64_t count() const { return ceil_div(rows, kQuantRows); }
  std::int64_t used(std::int64_t tile) const { return smaller(kQuantRows, rows - tile * kQuantRows); }
  int height(std::int64_t tile) const { return quant_height(used(tile)); }
  // Rows with the filling.
  std::int64_t padded() const { return rows / kQuantRows * kQuantRows + quant_height(rows % kQuantRows); }
};

inline void clear_filling(QuantRow* tile, std::int64_t groups, std::int64_t used, int height) {
  for (std::int64_t g = 0; g < groups; ++g) {
    for (std::int64_t r = used; r < height; ++r) tile[g * height + r] = QuantRow{};
  }
}
