#include "kernels/cpu/isa.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace foregate {
CpuFeatures detect_cpu_features() {
  CpuFeatures features;
#if defined(__x86_64__)
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return features;
  const bool fma = (c & bit_FMA) != 0;
  const bool f16c = (c & bit_F16C) != 0;
  if ((c & bit_OSXSAVE) == 0 || (c & bit_AVX) == 0) return features;
  unsigned xcr0 = 0, xcr0_high = 0;
  __asm__ volatile("xgetbv" : "=a"(xcr0), "=d"(xcr0_high) : "c"(0));
  constexpr unsigned kYmmState = 0x6;   // xmm and ymm
  constexpr unsigned kZmmState = 0xe6;  // and mask registers, upper halves, upper sixteen
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return features;
  features.avx2 = (b & bit_AVX2) != 0 && fma && f16c && (xcr0 & kYmmState) == kYmmState;
  constexpr unsigned kAvx512 = bit_AVX512F | bit_AVX512BW | bit_AVX512VL | bit_AVX512DQ;
  features.avx512 =
      features.avx2 && (b & kAvx512) == kAvx512 && (c & bit_AVX512VNNI) != 0 && (xcr0 & kZmmState) == kZmmState;
  if (!__get_cpuid_count(7, 1, &a, &b, &c, &d)) return features;
  constexpr unsigned kAvxVnni = 1u << 4;
  features.avxvnni = features.avx2 && (a & kAvxVnni) != 0;
#endif
  return features;
}

}  // namespace foregate
