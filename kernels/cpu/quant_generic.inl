// Integer products of sixteen lanes in plain loops.

constexpr int kQuantLanes = 16;
constexpr int kQuantRows = 4;
constexpr int kQuantPairRows = kQuantRows + 1;  // never two blocks at once

struct QI {
  std::int32_t v[kQuantLanes];
};
struct QF {
  float v[kQuantLanes];
};

// The eight chunks of a group: 4 columns of 16 rows each.
struct Codes {
  std::uint8_t chunk[8][64];
};

FOREGATE_INLINE QF qf_splat(float x) {
  QF out;
  for (float& lane : out.v) lane = x;
  return out;
}
FOREGATE_INLINE QF qf_zero() {
  return qf_splat(0.0f);
}
FOREGATE_INLINE QF qf_mul(const QF& x, const QF& y) {
  QF out;
  for (int i = 0; i < kQuantLanes; ++i) out.v[i] = x.v[i] * y.v[i];
  return out;
}
FOREGATE_INLINE QF qf_fma(const QF& x, const QF& y, const QF& z) {
  QF out;
  for (int i = 0; i < kQuantLanes; ++i) out.v[i] = x.v[i] * y.v[i] + z.v[i];
  return out;
}
FOREGATE_INLINE QF qf_of(const QI& x) {
  QF out;
  for (int i = 0; i < kQuantLanes; ++i) out.v[i] = static_cast<float>(x.v[i]);
  return out;
}
FOREGATE_INLINE QF qf_load(const float* p) {
  QF out;
  for (int i = 0; i < kQuantLanes; ++i) out.v[i] = p[i];
  return out;
}
FOREGATE_INLINE void qf_store(float* p, const QF& x) {
  for (int i = 0; i < kQuantLanes; ++i) p[i] = x.v[i];
}
FOREGATE_INLINE QI qi_splat(std::int32_t x) {
  QI out;
  for (std::int32_t& lane : out.v) lane = x;
  return out;
}
// a * x + b * y
FOREGATE_INLINE QI qi_weigh(const QI& a, const QI& x, const QI& b, const QI& y) {
  QI out;
  for (int i = 0; i < kQuantLanes; ++i) out.v[i] = a.v[i] * x.v[i] + b.v[i] * y.v[i];
  return out;
}
FOREGATE_INLINE QF qf_load_f16(const std::uint8_t* p) {
  F16 halves[kQuantLanes];
  __builtin_memcpy(halves, p, sizeof halves);
  QF out;
  store(out.v, load(halves));
  return out;
}
FOREGATE_INLINE QI qi_load_u8(const std::uint8_t* p) {
  QI out;
  for (int i = 0; i < kQuantLanes; ++i) out.v[i] = p[i];
  return out;
}
FOREGATE_INLINE QI qi_load_i8(const std::uint8_t* p) {
  QI out;
  for (int i = 0; i < kQuantLanes; ++i) out.v[i] = static_cast<std::int8_t>(p[i]);
  return out;
}
// 2^(e - 128)
FOREGATE_INLINE QF qf_load_half_e8m0(const std::uint8_t* p) {
  QF out;
  for (int i = 0; i < kQuantLanes; ++i) {
    const std::uint32_t bits = p[i] < 2 ? 0x00200000u << p[i] : static_cast<std::uint32_t>(p[i] - 1) << 23;
    __builtin_memcpy(out.v + i, &bits, 4);
  }
  return out;
}

FOREGATE_INLINE Codes unpack_bytes(const std::uint8_t* p) {
  Codes c;
  __builtin_memcpy(c.chunk, p, sizeof c.chunk);
  return c;
}
FOREGATE_INLINE Codes unpack_nibbles(const std::uint8_t* p) {
  Codes c;
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 64; ++j) {
      c.chunk[i][j] = p[64 * i + j] & 15;
      c.chunk[i + 4][j] = p[64 * i + j] >> 4;
    }
  }
  return c;
}
// Bit 4 of chunk i from bit i.
FOREGATE_INLINE void add_fifth_bit(Codes& c, const std::uint8_t* p) {
  for (int i = 0; i < 8; ++i) {
    for (int j = 0; j < 64; ++j) c.chunk[i][j] = static_cast<std::uint8_t>(c.chunk[i][j] | (p[j] >> i & 1) << 4);
  }
}
// Bits 4 and 5 of chunk i from bits 2 * (i % 4) on of half i / 4.
FOREGATE_INLINE void add_high_pairs(Codes& c, const std::uint8_t* p) {
  for (int i = 0; i < 8; ++i) {
    const std::uint8_t* bits = p + 64 * (i / 4);
    for (int j = 0; j < 64; ++j) {
      c.chunk[i][j] = static_cast<std::uint8_t>(c.chunk[i][j] | (bits[j] >> 2 * (i % 4) & 3) << 4);
    }
  }
}
// E2M1 codes to 2 * value + 12, which is not negative.
FOREGATE_INLINE void map_e2m1(Codes& c) {
  constexpr std::uint8_t kTable[16] = {12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0};
  for (auto& chunk : c.chunk) {
    for (std::uint8_t& code : chunk) code = kTable[code];
  }
}

// sums[r] += the products of chunks [kFirst, kFirst + kCount) with the int8 columns of row r.
template <int kFirst, int kCount, int kBits, int R>
FOREGATE_INLINE void dot_chunks(const Codes& c, const std::int8_t* q, QI (&sums)[R]) {
  for (int r = 0; r < R; ++r) {
    for (int i = kFirst; i < kFirst + kCount; ++i) {
      const std::int8_t* x = q + r * kQuantRowBytes + 4 * i;
      for (int lane = 0; lane < kQuantLanes; ++lane) {
        std::int32_t sum = 0;
        for (int j = 0; j < 4; ++j) sum += c.chunk[i][4 * lane + j] * x[j];
        sums[r].v[lane] += sum;
      }
    }
  }
}

// Sixteen values within +-127, rounded half to even; returns their sum.
FOREGATE_INLINE std::int32_t round_to_int8(V x, std::int8_t* q) {
  constexpr float kRounder = 12582912.0f;  // 1.5 * 2^23 leaves the integer in the low bits
  float lanes[kLanes];
  store(lanes, add(x, splat(kRounder)));
  std::int32_t sum = 0;
  for (int i = 0; i < kLanes; ++i) {
    std::int32_t bits;
    __builtin_memcpy(&bits, lanes + i, 4);
    q[i] = static_cast<std::int8_t>(bits - 0x4b400000);
    sum += q[i];
  }
  return sum;
}
