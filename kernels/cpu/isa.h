// Which instruction sets this processor and operating system can run, and how many cores this
// process may use. Pure questions, asked once at start; any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace foregate {

struct CpuFeatures {
  bool avx2 = false;     // AVX2 + FMA + F16C, with the ymm state saved by the operating system
  bool avxvnni = false;  // the above and AVX-VNNI
  bool avx512 = false;   // AVX2 and AVX-512 F, BW, VL, DQ, VNNI, with zmm and mask state saved
};
CpuFeatures detect_cpu_features();

// Physical cores in the affinity mask, capped by the cgroup CPU quota; at least 1.
int usable_physical_cores();

// Whole CPUs granted by the text of a cgroup v2 cpu.max file ("max 100000", "150000 100000");
// rounded down but at least 1. 0 when there is no limit or the text is not understood.
int cpus_of_quota(std::string_view cpu_max);

}  // namespace foregate
