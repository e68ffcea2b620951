// Sixteen floats as two ymm registers: AVX2, FMA and F16C.

#ifdef __AVXVNNI__
constexpr const char* kTableName = "cpu-avxvnni";
#else
constexpr const char* kTableName = "cpu-avx2";
#endif
constexpr int kMaxRows = 6;
constexpr std::int64_t kWideChunk = 8;  // blocks of 16 outputs in an item with many rows
constexpr int wide_blocks(int rows) {
  return rows == 1 ? 4 : rows <= 3 ? 2 : 1;
}

struct V {
  __m256 lo, hi;
};

FOREGATE_INLINE V splat(float x) {
  const __m256 v = _mm256_set1_ps(x);
  return {v, v};
}
FOREGATE_INLINE V zero() {
  return {_mm256_setzero_ps(), _mm256_setzero_ps()};
}
FOREGATE_INLINE V load(const float* p) {
  return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
FOREGATE_INLINE void store(float* p, V v) {
  _mm256_storeu_ps(p, v.lo);
  _mm256_storeu_ps(p + 8, v.hi);
}
FOREGATE_INLINE __m256 widen_bf16(const Bf16* p) {
  const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}
FOREGATE_INLINE V load(const Bf16* p) {
  return {widen_bf16(p), widen_bf16(p + 8)};
}
FOREGATE_INLINE V load(const F16* p) {
  return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))),
          _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 8)))};
}
// Exponent and mantissa where f16 has them, whose exponents count 8 more.
FOREGATE_INLINE V load(const F8* p) {
  const __m256i high = _mm256_slli_epi16(_mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), 8);
  const __m256i half = _mm256_and_si256(_mm256_srai_epi16(high, 1), _mm256_set1_epi16(static_cast<short>(0xbfff)));
  return {_mm256_cvtph_ps(_mm256_castsi256_si128(half)), _mm256_cvtph_ps(_mm256_extracti128_si256(half, 1))};
}
FOREGATE_INLINE __m256 widen_i8(const I8* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}
FOREGATE_INLINE V load(const I8* p) {
  return {widen_i8(p), widen_i8(p + 8)};
}
FOREGATE_INLINE __m256i narrow_bf16(__m256 x) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
  const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
  return _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16);
}
FOREGATE_INLINE void store(Bf16* p, V v) {
  const __m256i packed = _mm256_packus_epi32(narrow_bf16(v.lo), narrow_bf16(v.hi));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_permute4x64_epi64(packed, 0xd8));
}
FOREGATE_INLINE void store(F16* p, V v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(v.lo, _MM_FROUND_TO_NEAREST_INT));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8), _mm256_cvtps_ph(v.hi, _MM_FROUND_TO_NEAREST_INT));
}

FOREGATE_INLINE V add(V x, V y) {
  return {_mm256_add_ps(x.lo, y.lo), _mm256_add_ps(x.hi, y.hi)};
}
FOREGATE_INLINE V sub(V x, V y) {
  return {_mm256_sub_ps(x.lo, y.lo), _mm256_sub_ps(x.hi, y.hi)};
}
FOREGATE_INLINE V mul(V x, V y) {
  return {_mm256_mul_ps(x.lo, y.lo), _mm256_mul_ps(x.hi, y.hi)};
}
FOREGATE_INLINE V div(V x, V y) {
  return {_mm256_div_ps(x.lo, y.lo), _mm256_div_ps(x.hi, y.hi)};
}
// x * y + z
FOREGATE_INLINE V fma(V x, V y, V z) {
  return {_mm256_fmadd_ps(x.lo, y.lo, z.lo), _mm256_fmadd_ps(x.hi, y.hi, z.hi)};
}
// When either is NaN the result is y.
FOREGATE_INLINE V max(V x, V y) {
  return {_mm256_max_ps(x.lo, y.lo), _mm256_max_ps(x.hi, y.hi)};
}
FOREGATE_INLINE V min(V x, V y) {
  return {_mm256_min_ps(x.lo, y.lo), _mm256_min_ps(x.hi, y.hi)};
}
// x < y ? p : q, lane by lane
FOREGATE_INLINE V select_lt(V x, V y, V p, V q) {
  return {_mm256_blendv_ps(q.lo, p.lo, _mm256_cmp_ps(x.lo, y.lo, _CMP_LT_OQ)),
          _mm256_blendv_ps(q.hi, p.hi, _mm256_cmp_ps(x.hi, y.hi, _CMP_LT_OQ))};
}
FOREGATE_INLINE __m256 pow2_of_biased(__m256 v) {
  const __m256i exponent = _mm256_slli_epi32(_mm256_castps_si256(v), 23);
  return _mm256_castsi256_ps(_mm256_add_epi32(exponent, _mm256_set1_epi32(0x3f800000)));
}
// 2^n, where v = n + 1.5 * 2^23 holds the integer n in its low bits; -126 <= n <= 127
FOREGATE_INLINE V pow2_of_biased(V v) {
  return {pow2_of_biased(v.lo), pow2_of_biased(v.hi)};
}
// The order of a sum over lanes: i and i + 8, then i and i + 4, i + 2, i + 1.
FOREGATE_INLINE float reduce_add(V v) {
  const __m256 eight = _mm256_add_ps(v.lo, v.hi);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}
FOREGATE_INLINE float reduce_max(V v) {
  const __m256 eight = _mm256_max_ps(v.lo, v.hi);
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}

FOREGATE_INLINE void store_transposed_8x8(const __m256 (&r)[8], float* out) {
  __m256 pair[8];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    pair[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
    pair[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
  }
  __m256 quad[8];
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    quad[4 * i] = _mm256_shuffle_ps(pair[4 * i], pair[4 * i + 2], 0x44);
    quad[4 * i + 1] = _mm256_shuffle_ps(pair[4 * i], pair[4 * i + 2], 0xee);
    quad[4 * i + 2] = _mm256_shuffle_ps(pair[4 * i + 1], pair[4 * i + 3], 0x44);
    quad[4 * i + 3] = _mm256_shuffle_ps(pair[4 * i + 1], pair[4 * i + 3], 0xee);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    _mm256_storeu_ps(out + i * kLanes, _mm256_permute2f128_ps(quad[i], quad[i + 4], 0x20));
    _mm256_storeu_ps(out + (i + 4) * kLanes, _mm256_permute2f128_ps(quad[i], quad[i + 4], 0x31));
  }
}

// out[i][lane] = rows[lane][i]
FOREGATE_INLINE void store_transposed(const V (&rows)[kLanes], float* out) {
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    const V* r = rows + 8 * half;
    const __m256 low[8] = {r[0].lo, r[1].lo, r[2].lo, r[3].lo, r[4].lo, r[5].lo, r[6].lo, r[7].lo};
    const __m256 high[8] = {r[0].hi, r[1].hi, r[2].hi, r[3].hi, r[4].hi, r[5].hi, r[6].hi, r[7].hi};
    store_transposed_8x8(low, out + 8 * half);
    store_transposed_8x8(high, out + 8 * kLanes + 8 * half);
  }
}
