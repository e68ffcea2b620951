// Sixteen floats as four vectors of four, for any processor GCC or Clang knows. A multiply-add is
// two roundings here, so results may differ in the last bits from the FMA tables.

constexpr const char* kTableName = "cpu-generic";
constexpr int kMaxRows = 2;
constexpr std::int64_t kWideChunk = 4;  // blocks of 16 outputs in an item with many rows
constexpr int wide_blocks(int rows) {
  return rows == 1 ? 2 : 1;
}

typedef float Float4 __attribute__((vector_size(16)));
typedef std::int32_t Int4 __attribute__((vector_size(16)));

struct V {
  Float4 a, b, c, d;
};

template <class Fn>
FOREGATE_INLINE V each(V x, V y, Fn fn) {
  return {fn(x.a, y.a), fn(x.b, y.b), fn(x.c, y.c), fn(x.d, y.d)};
}

FOREGATE_INLINE V splat(float x) {
  const Float4 v = {x, x, x, x};
  return {v, v, v, v};
}
FOREGATE_INLINE V zero() {
  return splat(0.0f);
}
FOREGATE_INLINE V load(const float* p) {
  V v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
FOREGATE_INLINE void store(float* p, V v) {
  __builtin_memcpy(p, &v, sizeof v);
}
FOREGATE_INLINE V load(const Bf16* p) {
  float wide[kLanes];
  for (int i = 0; i < kLanes; ++i) {
    const std::uint32_t bits = static_cast<std::uint32_t>(p[i].bits) << 16;
    __builtin_memcpy(&wide[i], &bits, sizeof bits);
  }
  return load(wide);
}
FOREGATE_INLINE V load(const F16* p) {
  float wide[kLanes];
  for (int i = 0; i < kLanes; ++i) {
    const std::uint32_t magnitude = static_cast<std::uint32_t>(p[i].bits & 0x7fffu) << 13;
    float value;
    __builtin_memcpy(&value, &magnitude, sizeof value);
    value *= 0x1p112f;  // exact, subnormals included
    std::uint32_t bits;
    __builtin_memcpy(&bits, &value, sizeof bits);
    bits |= (p[i].bits & 0x7c00u) == 0x7c00u ? 0x7f800000u | magnitude : 0u;
    bits |= static_cast<std::uint32_t>(p[i].bits & 0x8000u) << 16;
    __builtin_memcpy(&wide[i], &bits, sizeof bits);
  }
  return load(wide);
}
struct F8Table {
  float values[256];
};
constexpr F8Table make_f8_table() {
  F8Table table{};
  for (int code = 0; code < 256; ++code) {
    const int exponent = code >> 3 & 15;
    float value = static_cast<float>((code & 7) + (exponent > 0 ? 8 : 0)) * 0x1p-17f;  // of the smallest exponent
    for (int e = 1; e < exponent; ++e) value *= 2.0f;
    table.values[code] = code < 128 ? value : -value;
  }
  return table;
}
constexpr F8Table kF8Table = make_f8_table();
FOREGATE_INLINE V load(const F8* p) {
  float wide[kLanes];
  for (int i = 0; i < kLanes; ++i) wide[i] = kF8Table.values[p[i].bits];
  return load(wide);
}
FOREGATE_INLINE V load(const I8* p) {
  float wide[kLanes];
  for (int i = 0; i < kLanes; ++i) wide[i] = static_cast<float>(p[i].code);
  return load(wide);
}
FOREGATE_INLINE void store(Bf16* p, V v) {
  std::uint32_t bits[kLanes];
  __builtin_memcpy(bits, &v, sizeof bits);
  for (int i = 0; i < kLanes; ++i) {
    const bool nan = (bits[i] & 0x7fffffffu) > 0x7f800000u;
    const std::uint32_t rounded = bits[i] + 0x7fffu + ((bits[i] >> 16) & 1u);
    p[i].bits = static_cast<std::uint16_t>((nan ? bits[i] | 0x400000u : rounded) >> 16);
  }
}
FOREGATE_INLINE void store(F16* p, V v) {
  float wide[kLanes];
  store(wide, v);
  for (int i = 0; i < kLanes; ++i) {
#if defined(__clang__) && __clang_major__ < 15  // has no _Float16 for every x86-64
    p[i].bits = narrow_f16(wide[i]);
#else
    const _Float16 half = static_cast<_Float16>(wide[i]);
    __builtin_memcpy(&p[i], &half, sizeof half);
#endif
  }
}

FOREGATE_INLINE V add(V x, V y) {
  return {x.a + y.a, x.b + y.b, x.c + y.c, x.d + y.d};
}
FOREGATE_INLINE V sub(V x, V y) {
  return {x.a - y.a, x.b - y.b, x.c - y.c, x.d - y.d};
}
FOREGATE_INLINE V mul(V x, V y) {
  return {x.a * y.a, x.b * y.b, x.c * y.c, x.d * y.d};
}
FOREGATE_INLINE V div(V x, V y) {
  return {x.a / y.a, x.b / y.b, x.c / y.c, x.d / y.d};
}
// x * y + z
FOREGATE_INLINE V fma(V x, V y, V z) {
  return {x.a * y.a + z.a, x.b * y.b + z.b, x.c * y.c + z.c, x.d * y.d + z.d};
}
// When either is NaN the result is y.
FOREGATE_INLINE V max(V x, V y) {
  return each(x, y, [](Float4 p, Float4 q) { return p > q ? p : q; });
}
FOREGATE_INLINE V min(V x, V y) {
  return each(x, y, [](Float4 p, Float4 q) { return p < q ? p : q; });
}
// x < y ? p : q, lane by lane
FOREGATE_INLINE V select_lt(V x, V y, V p, V q) {
  return {x.a < y.a ? p.a : q.a, x.b < y.b ? p.b : q.b, x.c < y.c ? p.c : q.c, x.d < y.d ? p.d : q.d};
}
// 2^n, where v = n + 1.5 * 2^23 holds the integer n in its low bits; -126 <= n <= 127
FOREGATE_INLINE V pow2_of_biased(V v) {
  return each(v, v, [](Float4 p, Float4) {
    const Int4 exponent = (reinterpret_cast<Int4>(p) << 23) + 0x3f800000;
    return reinterpret_cast<Float4>(exponent);
  });
}
// The order of a sum over lanes: i and i + 8, then i and i + 4, i + 2, i + 1.
FOREGATE_INLINE float reduce_add(V v) {
  const Float4 s = (v.a + v.c) + (v.b + v.d);
  return (s[0] + s[2]) + (s[1] + s[3]);
}
FOREGATE_INLINE float reduce_max(V v) {
  const V folded = max(v, {v.c, v.d, v.c, v.d});
  const V half = max(folded, {folded.b, folded.b, folded.b, folded.b});
  const float low = half.a[0] > half.a[2] ? half.a[0] : half.a[2];
  const float high = half.a[1] > half.a[3] ? half.a[1] : half.a[3];
  return low > high ? low : high;
}

// out[i][lane] = rows[lane][i]
FOREGATE_INLINE void store_transposed(const V (&rows)[kLanes], float* out) {
  for (int lane = 0; lane < kLanes; ++lane) {
    float values[kLanes];
    store(values, rows[lane]);
    for (int i = 0; i < kLanes; ++i) out[i * kLanes + lane] = values[i];
  }
}
