#include "tools/bench/limit_loops.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace foregate {
namespace {

#define FOREGATE_INLINE inline __attribute__((always_inline))

using Line = std::uint64_t __attribute__((vector_size(64)));
constexpr std::size_t kStreams = kReadUnit / sizeof(Line);  // several streams keep more lines in flight than one
constexpr std::size_t kAheadLines = 64;
constexpr int kChains = 12;  // independent sums: enough to hide the latency of a product

FOREGATE_INLINE std::uint64_t read_lines(const std::byte* bytes, std::size_t count) {
  const Line* data = reinterpret_cast<const Line*>(bytes);
  const std::size_t part = count / sizeof(Line) / kStreams;
  Line sums[kStreams] = {};
  for (std::size_t i = 0; i < part; ++i) {
#pragma GCC unroll 4
    for (std::size_t s = 0; s < kStreams; ++s) {
      __builtin_prefetch(data + s * part + i + kAheadLines);
      sums[s] ^= data[s * part + i];
    }
  }
  for (std::size_t s = 1; s < kStreams; ++s) sums[0] ^= sums[s];
  std::uint64_t folded = 0;
  for (int lane = 0; lane < 8; ++lane) folded ^= sums[0][lane];
  return folded;
}

std::uint64_t read_plain(const std::byte* data, std::size_t bytes) {
  return read_lines(data, bytes);
}

using Float4 = float __attribute__((vector_size(16)));
using Short8 = short __attribute__((vector_size(16)));

float f32_generic(std::int64_t steps, float seed) {
  const Float4 x = {seed, seed, seed, seed};
  Float4 sum[kChains];
  for (int i = 0; i < kChains; ++i) sum[i] = x * static_cast<float>(i);  // all different, or they would be merged
  for (std::int64_t step = 0; step < steps; ++step) {
#pragma GCC unroll 12
    for (Float4& s : sum) s = s * x + x;
  }
  for (int i = 1; i < kChains; ++i) sum[0] += sum[i];
  return sum[0][0];
}

#if defined(__x86_64__)

__attribute__((target("avx2"))) std::uint64_t read_avx2(const std::byte* data, std::size_t bytes) {
  return read_lines(data, bytes);
}
__attribute__((target("avx512f"))) std::uint64_t read_avx512(const std::byte* data, std::size_t bytes) {
  return read_lines(data, bytes);
}

__attribute__((target("avx2,fma"))) float f32_avx2(std::int64_t steps, float seed) {
  const __m256 x = _mm256_set1_ps(seed);
  __m256 sum[kChains];
  for (int i = 0; i < kChains; ++i) sum[i] = _mm256_set1_ps(seed * static_cast<float>(i));
  for (std::int64_t step = 0; step < steps; ++step) {
#pragma GCC unroll 12
    for (__m256& s : sum) s = _mm256_fmadd_ps(s, x, x);
  }
  for (int i = 1; i < kChains; ++i) sum[0] = _mm256_add_ps(sum[0], sum[i]);
  return _mm256_cvtss_f32(sum[0]);
}

__attribute__((target("avx512f"))) float f32_avx512(std::int64_t steps, float seed) {
  const __m512 x = _mm512_set1_ps(seed);
  __m512 sum[kChains];
  for (int i = 0; i < kChains; ++i) sum[i] = _mm512_set1_ps(seed * static_cast<float>(i));
  for (std::int64_t step = 0; step < steps; ++step) {
#pragma GCC unroll 12
    for (__m512& s : sum) s = _mm512_fmadd_ps(s, x, x);
  }
  for (int i = 1; i < kChains; ++i) sum[0] = _mm512_add_ps(sum[0], sum[i]);
  return _mm512_cvtss_f32(sum[0]);
}

float int8_generic(std::int64_t steps, float seed) {
  const __m128i x = _mm_set1_epi16(static_cast<short>(seed * 4.0f));
  __m128i sum[kChains];
  for (int i = 0; i < kChains; ++i) sum[i] = _mm_set1_epi32(i);
  for (std::int64_t step = 0; step < steps; ++step) {
#pragma GCC unroll 12
    for (__m128i& s : sum) s = _mm_add_epi32(s, _mm_madd_epi16(s, x));
  }
  for (int i = 1; i < kChains; ++i) sum[0] = _mm_add_epi32(sum[0], sum[i]);
  return static_cast<float>(_mm_cvtsi128_si32(sum[0]));
}

// Four chains of eight products each: the sums in 16 bits are widened once in eight.
constexpr int kWideChains = 4;
constexpr int kNarrowSums = 8;
__attribute__((target("avx2"))) float int8_avx2(std::int64_t steps, float seed) {
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i codes[kNarrowSums];
  for (int i = 0; i < kNarrowSums; ++i) codes[i] = _mm256_set1_epi8(static_cast<char>(seed * 4.0f + i));
  __m256i sum[kWideChains];
  for (int i = 0; i < kWideChains; ++i) sum[i] = _mm256_set1_epi32(i);
  for (std::int64_t step = 0; step < steps; ++step) {
#pragma GCC unroll 4
    for (__m256i& s : sum) {
      __m256i pairs = _mm256_maddubs_epi16(codes[0], s);
#pragma GCC unroll 8
      for (int i = 1; i < kNarrowSums; ++i) pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(codes[i], s));
      s = _mm256_add_epi32(s, _mm256_madd_epi16(pairs, ones));
    }
  }
  for (int i = 1; i < kWideChains; ++i) sum[0] = _mm256_add_epi32(sum[0], sum[i]);
  return static_cast<float>(_mm256_cvtsi256_si32(sum[0]));
}

__attribute__((target("avx2,avxvnni"))) float int8_avxvnni(std::int64_t steps, float seed) {
  const __m256i x = _mm256_set1_epi8(static_cast<char>(seed * 4.0f));
  __m256i sum[kChains];
  for (int i = 0; i < kChains; ++i) sum[i] = _mm256_set1_epi32(i);
  for (std::int64_t step = 0; step < steps; ++step) {
#pragma GCC unroll 12
    for (__m256i& s : sum) s = _mm256_dpbusd_avx_epi32(s, x, x);
  }
  for (int i = 1; i < kChains; ++i) sum[0] = _mm256_add_epi32(sum[0], sum[i]);
  return static_cast<float>(_mm256_cvtsi256_si32(sum[0]));
}

__attribute__((target("avx512f,avx512vnni"))) float int8_avx512(std::int64_t steps, float seed) {
  const __m512i x = _mm512_set1_epi8(static_cast<char>(seed * 4.0f));
  __m512i sum[kChains];
  for (int i = 0; i < kChains; ++i) sum[i] = _mm512_set1_epi32(i);
  for (std::int64_t step = 0; step < steps; ++step) {
#pragma GCC unroll 12
    for (__m512i& s : sum) s = _mm512_dpbusd_epi32(s, x, x);
  }
  for (int i = 1; i < kChains; ++i) sum[0] = _mm512_add_epi32(sum[0], sum[i]);
  return static_cast<float>(_mm512_cvtsi512_si32(sum[0]));
}

#else

float int8_generic(std::int64_t steps, float seed) {
  const short small = static_cast<short>(seed * 4.0f);
  const Short8 x = {small, small, small, small, small, small, small, small};
  Short8 sum[kChains];
  for (int i = 0; i < kChains; ++i) sum[i] = x + static_cast<short>(i);
  for (std::int64_t step = 0; step < steps; ++step) {
#pragma GCC unroll 12
    for (Short8& s : sum) s = s * x + x;
  }
  for (int i = 1; i < kChains; ++i) sum[0] += sum[i];
  return static_cast<float>(sum[0][0]);
}

#endif

}  // namespace

ReadLoop best_read_loop() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return read_avx512;
  if (__builtin_cpu_supports("avx2")) return read_avx2;
#endif
  return read_plain;
}

PeakLoop int8_peak_loop([[maybe_unused]] std::string_view isa) {
#if defined(__x86_64__)
  if (isa == "avx512") return {int8_avx512, kChains * 64.0};
  if (isa == "avxvnni") return {int8_avxvnni, kChains * 32.0};
  if (isa == "avx2") return {int8_avx2, kWideChains * kNarrowSums * 32.0};
#endif
  return {int8_generic, kChains * 8.0};
}

PeakLoop f32_peak_loop([[maybe_unused]] std::string_view isa) {
#if defined(__x86_64__)
  if (isa == "avx512") return {f32_avx512, kChains * 16.0};
  if (isa == "avx2" || isa == "avxvnni") return {f32_avx2, kChains * 8.0};
#endif
  return {f32_generic, kChains * 4.0};
}

}  // namespace foregate
