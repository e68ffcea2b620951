// Integer products of sixteen lanes with AVX-512 VNNI (vpdpbusd: u8 codes times s8 activations).

constexpr int kQuantLanes = 16;
constexpr int kQuantRows = 16;  // accumulators that fit beside eight registers of codes
// Two blocks at once from this many rows on: their codes fit into registers together.
constexpr int kQuantPairRows = 8;

using QI = __m512i;  // 16 x int32
using QF = __m512;   // 16 x float

// The eight chunks of a group: 4 columns of 16 rows each.
struct Codes {
  QI chunk[8];
};

FOREGATE_INLINE QF qf_zero() {
  return _mm512_setzero_ps();
}
FOREGATE_INLINE QF qf_splat(float x) {
  return _mm512_set1_ps(x);
}
FOREGATE_INLINE QF qf_mul(QF x, QF y) {
  return _mm512_mul_ps(x, y);
}
FOREGATE_INLINE QF qf_fma(QF x, QF y, QF z) {
  return _mm512_fmadd_ps(x, y, z);
}
FOREGATE_INLINE QF qf_of(QI x) {
  return _mm512_cvtepi32_ps(x);
}
FOREGATE_INLINE QF qf_load(const float* p) {
  return _mm512_loadu_ps(p);
}
FOREGATE_INLINE void qf_store(float* p, QF x) {
  _mm512_storeu_ps(p, x);
}
FOREGATE_INLINE QI qi_splat(std::int32_t x) {
  return _mm512_set1_epi32(x);
}
// a * x + b * y
FOREGATE_INLINE QI qi_weigh(QI a, QI x, QI b, QI y) {
  return _mm512_add_epi32(_mm512_mullo_epi32(a, x), _mm512_mullo_epi32(b, y));
}
FOREGATE_INLINE QF qf_load_f16(const std::uint8_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
FOREGATE_INLINE QI qi_load_u8(const std::uint8_t* p) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
FOREGATE_INLINE QI qi_load_i8(const std::uint8_t* p) {
  return _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
// 2^(e - 128)
FOREGATE_INLINE QF qf_load_half_e8m0(const std::uint8_t* p) {
  const QI e = qi_load_u8(p);
  const QI normal = _mm512_slli_epi32(_mm512_sub_epi32(e, _mm512_set1_epi32(1)), 23);
  const QI tiny = _mm512_sllv_epi32(_mm512_set1_epi32(0x00200000), e);
  return _mm512_castsi512_ps(_mm512_mask_blend_epi32(_mm512_cmplt_epi32_mask(e, _mm512_set1_epi32(2)), normal, tiny));
}

FOREGATE_INLINE QI load_codes(const std::uint8_t* p) {
  return _mm512_loadu_si512(p);
}
FOREGATE_INLINE Codes unpack_bytes(const std::uint8_t* p) {
  Codes c;
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) c.chunk[i] = load_codes(p + 64 * i);
  return c;
}
FOREGATE_INLINE Codes unpack_nibbles(const std::uint8_t* p) {
  Codes c;
  const QI low = _mm512_set1_epi8(15);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const QI both = load_codes(p + 64 * i);
    c.chunk[i] = _mm512_and_si512(both, low);
    c.chunk[i + 4] = _mm512_and_si512(_mm512_srli_epi16(both, 4), low);
  }
  return c;
}
// codes | (bits & mask)
FOREGATE_INLINE QI merge_bits(QI codes, QI bits, QI mask) {
  return _mm512_ternarylogic_epi32(codes, bits, mask, 0xf8);
}
// Bit 4 of chunk i from bit i.
FOREGATE_INLINE void add_fifth_bit(Codes& c, const std::uint8_t* p) {
  const QI bits = load_codes(p);
  const QI mask = _mm512_set1_epi8(16);
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    const QI at4 = i <= 4 ? _mm512_slli_epi16(bits, static_cast<unsigned>(i <= 4 ? 4 - i : 0))
                          : _mm512_srli_epi16(bits, static_cast<unsigned>(i > 4 ? i - 4 : 0));
    c.chunk[i] = merge_bits(c.chunk[i], at4, mask);
  }
}
// Bits 4 and 5 of chunk i from bits 2 * (i % 4) on of half i / 4.
FOREGATE_INLINE void add_high_pairs(Codes& c, const std::uint8_t* p) {
  const QI mask = _mm512_set1_epi8(0x30);
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    const QI bits = load_codes(p + 64 * half);
    c.chunk[4 * half] = merge_bits(c.chunk[4 * half], _mm512_slli_epi16(bits, 4), mask);
    c.chunk[4 * half + 1] = merge_bits(c.chunk[4 * half + 1], _mm512_slli_epi16(bits, 2), mask);
    c.chunk[4 * half + 2] = merge_bits(c.chunk[4 * half + 2], bits, mask);
    c.chunk[4 * half + 3] = merge_bits(c.chunk[4 * half + 3], _mm512_srli_epi16(bits, 2), mask);
  }
}
// E2M1 codes to 2 * value + 12, which is not negative.
FOREGATE_INLINE void map_e2m1(Codes& c) {
  const QI table = _mm512_broadcast_i32x4(_mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0));
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) c.chunk[i] = _mm512_shuffle_epi8(table, c.chunk[i]);
}

FOREGATE_INLINE QI qi_zero() {
  return _mm512_setzero_si512();
}
FOREGATE_INLINE QI qi_add(QI x, QI y) {
  return _mm512_add_epi32(x, y);
}
FOREGATE_INLINE QI four_columns(const std::int8_t* q) {
  std::int32_t four;
  __builtin_memcpy(&four, q, 4);
  return _mm512_set1_epi32(four);
}

// sums[r] += the products of chunks [kFirst, kFirst + kCount) with the int8 columns of row r, `step` bytes apart.
// Rows take turns, and a few rows have several sums each, so that no addition waits for the one before.
template <int kFirst, int kCount, int kBits, int R>
FOREGATE_INLINE void dot_chunks(const Codes& c, const std::int8_t* q, QI (&sums)[R]) {
  constexpr int kSplit = R == 1 ? 4 : R == 2 ? 2 : 1;
  QI part[R][kSplit];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    part[r][0] = sums[r];
#pragma GCC unroll 4
    for (int s = 1; s < kSplit; ++s) part[r][s] = qi_zero();
  }
#pragma GCC unroll 8
  for (int i = kFirst; i < kFirst + kCount; ++i) {
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      QI& sum = part[r][(i - kFirst) % kSplit];
      sum = _mm512_dpbusd_epi32(sum, c.chunk[i], four_columns(q + r * kQuantRowBytes + 4 * i));
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    sums[r] = part[r][0];
#pragma GCC unroll 4
    for (int s = 1; s < kSplit; ++s) sums[r] = qi_add(sums[r], part[r][s]);
  }
}

// The same for the codes of two blocks, whose products share each load of columns: two loads a cycle are all there are.
template <int kFirst, int kCount, int R>
FOREGATE_INLINE void dot_pair(const Codes& c, const Codes& d, const std::int8_t* q, QI (&c_sums)[R], QI (&d_sums)[R]) {
#pragma GCC unroll 8
  for (int i = kFirst; i < kFirst + kCount; ++i) {
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      QI columns = four_columns(q + r * kQuantRowBytes + 4 * i);
      asm("" : "+v"(columns));  // in a register, not an operand that either product loads anew
      c_sums[r] = _mm512_dpbusd_epi32(c_sums[r], c.chunk[i], columns);
      d_sums[r] = _mm512_dpbusd_epi32(d_sums[r], d.chunk[i], columns);
    }
  }
}

// Sixteen values within +-127, rounded half to even; returns their sum.
FOREGATE_INLINE std::int32_t round_to_int8(V x, std::int8_t* q) {
  const QI whole = _mm512_cvtps_epi32(x.v);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(q), _mm512_cvtepi32_epi8(whole));
  return _mm512_reduce_add_epi32(whole);
}
