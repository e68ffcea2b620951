// Sixteen floats in one zmm register: AVX-512 F, BW, VL and DQ.

constexpr const char* kTableName = "cpu-avx512";
constexpr int kMaxRows = 12;
constexpr std::int64_t kWideChunk = 16;  // blocks of 16 outputs in an item with many rows
constexpr int wide_blocks(int rows) {
  return rows <= 6 ? 4 : 2;
}

struct V {
  __m512 v;
};

FOREGATE_INLINE V splat(float x) {
  return {_mm512_set1_ps(x)};
}
FOREGATE_INLINE V zero() {
  return {_mm512_setzero_ps()};
}
FOREGATE_INLINE V load(const float* p) {
  return {_mm512_loadu_ps(p)};
}
FOREGATE_INLINE void store(float* p, V v) {
  _mm512_storeu_ps(p, v.v);
}
FOREGATE_INLINE V load(const Bf16* p) {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16))};
}
FOREGATE_INLINE V load(const F16* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
// Exponent and mantissa where f16 has them, whose exponents count 8 more.
FOREGATE_INLINE V load(const F8* p) {
  const __m256i high = _mm256_slli_epi16(_mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), 8);
  const __m256i half = _mm256_and_si256(_mm256_srai_epi16(high, 1), _mm256_set1_epi16(static_cast<short>(0xbfff)));
  return {_mm512_cvtph_ps(half)};
}
FOREGATE_INLINE V load(const I8* p) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))};
}
FOREGATE_INLINE void store(Bf16* p, V v) {
  const __m512i bits = _mm512_castps_si512(v.v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
  const __mmask16 nan = _mm512_cmp_ps_mask(v.v, v.v, _CMP_UNORD_Q);
  const __m512i quiet = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x400000));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(_mm512_srli_epi32(quiet, 16)));
}
FOREGATE_INLINE void store(F16* p, V v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(v.v, _MM_FROUND_TO_NEAREST_INT));
}

FOREGATE_INLINE V add(V x, V y) {
  return {_mm512_add_ps(x.v, y.v)};
}
FOREGATE_INLINE V sub(V x, V y) {
  return {_mm512_sub_ps(x.v, y.v)};
}
FOREGATE_INLINE V mul(V x, V y) {
  return {_mm512_mul_ps(x.v, y.v)};
}
FOREGATE_INLINE V div(V x, V y) {
  return {_mm512_div_ps(x.v, y.v)};
}
// x * y + z
FOREGATE_INLINE V fma(V x, V y, V z) {
  return {_mm512_fmadd_ps(x.v, y.v, z.v)};
}
// When either is NaN the result is y.
FOREGATE_INLINE V max(V x, V y) {
  return {_mm512_max_ps(x.v, y.v)};
}
FOREGATE_INLINE V min(V x, V y) {
  return {_mm512_min_ps(x.v, y.v)};
}
// x < y ? p : q, lane by lane
FOREGATE_INLINE V select_lt(V x, V y, V p, V q) {
  return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(x.v, y.v, _CMP_LT_OQ), q.v, p.v)};
}
// 2^n, where v = n + 1.5 * 2^23 holds the integer n in its low bits; -126 <= n <= 127
FOREGATE_INLINE V pow2_of_biased(V v) {
  const __m512i exponent = _mm512_slli_epi32(_mm512_castps_si512(v.v), 23);
  return {_mm512_castsi512_ps(_mm512_add_epi32(exponent, _mm512_set1_epi32(0x3f800000)))};
}
FOREGATE_INLINE __m256 low_half(V v) {
  return _mm512_castps512_ps256(v.v);
}
FOREGATE_INLINE __m256 high_half(V v) {
  return _mm512_extractf32x8_ps(v.v, 1);
}
// The order of a sum over lanes: i and i + 8, then i and i + 4, i + 2, i + 1.
FOREGATE_INLINE float reduce_add(V v) {
  const __m256 eight = _mm256_add_ps(low_half(v), high_half(v));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}
FOREGATE_INLINE float reduce_max(V v) {
  const __m256 eight = _mm256_max_ps(low_half(v), high_half(v));
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}

// out[i][lane] = rows[lane][i]
FOREGATE_INLINE void store_transposed(const V (&rows)[kLanes], float* out) {
  __m512 pair[kLanes];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    pair[2 * i] = _mm512_unpacklo_ps(rows[2 * i].v, rows[2 * i + 1].v);
    pair[2 * i + 1] = _mm512_unpackhi_ps(rows[2 * i].v, rows[2 * i + 1].v);
  }
  // quad[4 * g + c]: in each 128-bit quarter q, column 4 * q + c of rows 4 * g .. 4 * g + 3.
  __m512 quad[kLanes];
#pragma GCC unroll 4
  for (int g = 0; g < 4; ++g) {
    quad[4 * g] = _mm512_shuffle_ps(pair[4 * g], pair[4 * g + 2], 0x44);
    quad[4 * g + 1] = _mm512_shuffle_ps(pair[4 * g], pair[4 * g + 2], 0xee);
    quad[4 * g + 2] = _mm512_shuffle_ps(pair[4 * g + 1], pair[4 * g + 3], 0x44);
    quad[4 * g + 3] = _mm512_shuffle_ps(pair[4 * g + 1], pair[4 * g + 3], 0xee);
  }
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
    const __m512 low01 = _mm512_shuffle_f32x4(quad[c], quad[4 + c], 0x44);
    const __m512 high01 = _mm512_shuffle_f32x4(quad[c], quad[4 + c], 0xee);
    const __m512 low23 = _mm512_shuffle_f32x4(quad[8 + c], quad[12 + c], 0x44);
    const __m512 high23 = _mm512_shuffle_f32x4(quad[8 + c], quad[12 + c], 0xee);
    _mm512_storeu_ps(out + c * kLanes, _mm512_shuffle_f32x4(low01, low23, 0x88));
    _mm512_storeu_ps(out + (4 + c) * kLanes, _mm512_shuffle_f32x4(low01, low23, 0xdd));
    _mm512_storeu_ps(out + (8 + c) * kLanes, _mm512_shuffle_f32x4(high01, high23, 0x88));
    _mm512_storeu_ps(out + (12 + c) * kLanes, _mm512_shuffle_f32x4(high01, high23, 0xdd));
  }
}
