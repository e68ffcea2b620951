// store_transposed for both x86 tables: four 8 x 8 transposes in ymm registers.

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
    const __m256 low[8] = {low_half(r[0]), low_half(r[1]), low_half(r[2]), low_half(r[3]),
                           low_half(r[4]), low_half(r[5]), low_half(r[6]), low_half(r[7])};
    const __m256 high[8] = {high_half(r[0]), high_half(r[1]), high_half(r[2]), high_half(r[3]),
                            high_half(r[4]), high_half(r[5]), high_half(r[6]), high_half(r[7])};
    store_transposed_8x8(low, out + 8 * half);
    store_transposed_8x8(high, out + 8 * kLanes + 8 * half);
  }
}
