// Which instruction sets this processor and operating system can run. A pure question, asked once at
// start; any thread.
#pragma once

namespace foregate {

struct CpuFeatures {
  bool avx2 = false;     // AVX2 + FMA + F16C, with the ymm state saved by the operating system
  bool avxvnni = false;  // the above and AVX-VNNI
  bool avx512 = false;   // AVX2 and AVX-512 F, BW, VL, DQ, VNNI, with zmm and mask state saved
};
CpuFeatures detect_cpu_features();

}  // namespace foregate
