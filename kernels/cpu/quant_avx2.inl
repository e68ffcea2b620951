// Integer products of eight lanes, half a block of sixteen rows at a time: AVX-VNNI where the table is compiled for it,
// else pairs of products summed in 16 bits as far as they cannot overflow.

constexpr int kQuantLanes = 8;
constexpr int kQuantRows = 4;                   // accumulators that fit beside eight registers of codes
constexpr int kQuantPairRows = kQuantRows + 1;  // never two blocks at once

using QI = __m256i;  // 8 x int32
using QF = __m256;   // 8 x float

// Half of each of the eight chunks of a group: 4 columns of 8 rows.
struct Codes {
  QI chunk[8];
};

FOREGATE_INLINE QF qf_zero() {
  return _mm256_setzero_ps();
}
FOREGATE_INLINE QF qf_splat(float x) {
  return _mm256_set1_ps(x);
}
FOREGATE_INLINE QF qf_mul(QF x, QF y) {
  return _mm256_mul_ps(x, y);
}
FOREGATE_INLINE QF qf_fma(QF x, QF y, QF z) {
  return _mm256_fmadd_ps(x, y, z);
}
FOREGATE_INLINE QF qf_of(QI x) {
  return _mm256_cvtepi32_ps(x);
}
FOREGATE_INLINE QF qf_load(const float* p) {
  return _mm256_loadu_ps(p);
}
FOREGATE_INLINE void qf_store(float* p, QF x) {
  _mm256_storeu_ps(p, x);
}
FOREGATE_INLINE QI qi_splat(std::int32_t x) {
  return _mm256_set1_epi32(x);
}
// a * x + b * y
FOREGATE_INLINE QI qi_weigh(QI a, QI x, QI b, QI y) {
  return _mm256_add_epi32(_mm256_mullo_epi32(a, x), _mm256_mullo_epi32(b, y));
}
FOREGATE_INLINE QF qf_load_f16(const std::uint8_t* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
FOREGATE_INLINE QI qi_load_u8(const std::uint8_t* p) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}
FOREGATE_INLINE QI qi_load_i8(const std::uint8_t* p) {
  return _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}
// 2^(e - 128)
FOREGATE_INLINE QF qf_load_half_e8m0(const std::uint8_t* p) {
  const QI e = qi_load_u8(p);
  const QI normal = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);
  const QI tiny = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), e);
  return _mm256_castsi256_ps(_mm256_blendv_epi8(normal, tiny, _mm256_cmpgt_epi32(_mm256_set1_epi32(2), e)));
}

FOREGATE_INLINE QI load_codes(const std::uint8_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const QI*>(p));
}
FOREGATE_INLINE Codes unpack_bytes(const std::uint8_t* p) {
  Codes c;
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) c.chunk[i] = load_codes(p + 64 * i);
  return c;
}
FOREGATE_INLINE Codes unpack_nibbles(const std::uint8_t* p) {
  Codes c;
  const QI low = _mm256_set1_epi8(15);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const QI both = load_codes(p + 64 * i);
    c.chunk[i] = _mm256_and_si256(both, low);
    c.chunk[i + 4] = _mm256_and_si256(_mm256_srli_epi16(both, 4), low);
  }
  return c;
}
FOREGATE_INLINE QI merge_bits(QI codes, QI bits, QI mask) {
  return _mm256_or_si256(codes, _mm256_and_si256(bits, mask));
}
// Bit 4 of chunk i from bit i.
FOREGATE_INLINE void add_fifth_bit(Codes& c, const std::uint8_t* p) {
  const QI bits = load_codes(p);
  const QI mask = _mm256_set1_epi8(16);
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    const QI at4 = i <= 4 ? _mm256_slli_epi16(bits, i <= 4 ? 4 - i : 0) : _mm256_srli_epi16(bits, i > 4 ? i - 4 : 0);
    c.chunk[i] = merge_bits(c.chunk[i], at4, mask);
  }
}
// Bits 4 and 5 of chunk i from bits 2 * (i % 4) on of half i / 4.
FOREGATE_INLINE void add_high_pairs(Codes& c, const std::uint8_t* p) {
  const QI mask = _mm256_set1_epi8(0x30);
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    const QI bits = load_codes(p + 64 * half);
    c.chunk[4 * half] = merge_bits(c.chunk[4 * half], _mm256_slli_epi16(bits, 4), mask);
    c.chunk[4 * half + 1] = merge_bits(c.chunk[4 * half + 1], _mm256_slli_epi16(bits, 2), mask);
    c.chunk[4 * half + 2] = merge_bits(c.chunk[4 * half + 2], bits, mask);
    c.chunk[4 * half + 3] = merge_bits(c.chunk[4 * half + 3], _mm256_srli_epi16(bits, 2), mask);
  }
}
// E2M1 codes to 2 * value + 12, which is not negative.
FOREGATE_INLINE void map_e2m1(Codes& c) {
  const QI table =
      _mm256_broadcastsi128_si256(_mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0));
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) c.chunk[i] = _mm256_shuffle_epi8(table, c.chunk[i]);
}

FOREGATE_INLINE QI four_columns(const std::int8_t* q) {
  std::int32_t four;
  __builtin_memcpy(&four, q, 4);
  return _mm256_set1_epi32(four);
}

// sums[r] += the products of chunks [kFirst, kFirst + kCount) with the int8 columns of row r; rows take turns.
#ifdef __AVXVNNI__
template <int kFirst, int kCount, int kBits, int R>
FOREGATE_INLINE void dot_chunks(const Codes& c, const std::int8_t* q, QI (&sums)[R]) {
#pragma GCC unroll 8
  for (int i = kFirst; i < kFirst + kCount; ++i) {
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      sums[r] = _mm256_dpbusd_avx_epi32(sums[r], c.chunk[i], four_columns(q + r * kQuantRowBytes + 4 * i));
    }
  }
}
#else
// Pairs of products add up in 16 bits: (2^kBits - 1) * 127 * 2 each, so this many chunks stay below 32768. With 8-bit
// codes one pair alone is too much: the 128 is taken off again and signs move to the activations, |w| * (sign(w) q).
template <int kFirst, int kCount, int kBits, int R>
FOREGATE_INLINE void dot_chunks(const Codes& c, const std::int8_t* q, QI (&sums)[R]) {
  constexpr int kTogether = kBits <= 4 ? 8 : kBits == 5 ? 4 : kBits == 6 ? 2 : 1;
  const QI ones = _mm256_set1_epi16(1);
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    if (kBits == 8) sums[r] = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (int first = kFirst; first < kFirst + kCount; first += kTogether) {
      QI pairs = _mm256_setzero_si256();
#pragma GCC unroll 8
      for (int i = first; i < (first + kTogether < kFirst + kCount ? first + kTogether : kFirst + kCount); ++i) {
        QI codes = c.chunk[i];
        QI x = four_columns(q + r * kQuantRowBytes + 4 * i);
        if (kBits == 8) {
          const QI w = _mm256_xor_si256(codes, _mm256_set1_epi8(-128));
          codes = _mm256_abs_epi8(w);
          x = _mm256_sign_epi8(x, w);
        }
        pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(codes, x));
      }
      sums[r] = _mm256_add_epi32(sums[r], _mm256_madd_epi16(pairs, ones));
    }
  }
}
#endif

// Sixteen values within +-127, rounded half to even; returns their sum.
FOREGATE_INLINE std::int32_t round_to_int8(V x, std::int8_t* q) {
  const QI low = _mm256_cvtps_epi32(x.lo);
  const QI high = _mm256_cvtps_epi32(x.hi);
  const QI words = _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xd8);
  const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(q), bytes);
  const QI sums = _mm256_madd_epi16(words, _mm256_set1_epi16(1));
  __m128i four = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
  four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1)));
}
