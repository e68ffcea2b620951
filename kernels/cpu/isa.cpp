#include "kernels/cpu/isa.h"

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>
#include <set>
#include <utility>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace foregate {
namespace {

std::string read_text(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

int read_int(const std::string& path, int otherwise) {
  const std::string text = read_text(path);
  int value = otherwise;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

// Distinct (package, core) pairs among the CPUs of the affinity mask.
int affinity_cores() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  if (sched_getaffinity(0, sizeof mask, &mask) != 0) return 1;
  std::set<std::pair<int, int>> cores;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &mask)) continue;
    const std::string topology = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
    cores.emplace(read_int(topology + "physical_package_id", 0), read_int(topology + "core_id", 10000 + cpu));
  }
  return std::max<int>(1, static_cast<int>(cores.size()));
}

// The path of this process below a cgroup controller ("" is cgroup v2), from /proc/self/cgroup.
std::string cgroup_path(std::string_view controller) {
  std::ifstream in("/proc/self/cgroup");
  for (std::string line; std::getline(in, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string names = "," + line.substr(first + 1, second - first - 1) + ",";
    if (names == "," + std::string(controller) + "," ||
        (!controller.empty() && names.find("," + std::string(controller) + ",") != std::string::npos)) {
      return line.substr(second + 1);
    }
  }
  return "/";
}

// The smallest quota on the way from this process's group up to the root; 0 for none.
int cgroup_cpus() {
  int limit = 0;
  const auto lower = [&limit](int cpus) {
    if (cpus > 0) limit = limit == 0 ? cpus : std::min(limit, cpus);
  };
  for (std::string path = cgroup_path("");; path = path.substr(0, path.rfind('/'))) {
    lower(cpus_of_quota(read_text("/sys/fs/cgroup" + path + "/cpu.max")));
    if (path.empty() || path.find('/') == std::string::npos) break;
  }
  for (std::string path = cgroup_path("cpu");; path = path.substr(0, path.rfind('/'))) {
    const std::string folder = "/sys/fs/cgroup/cpu" + path + "/cpu.cfs_";
    lower(cpus_of_quota(read_text(folder + "quota_us") + " " + read_text(folder + "period_us")));
    if (path.empty() || path.find('/') == std::string::npos) break;
  }
  return limit;
}

}  // namespace

int cpus_of_quota(std::string_view cpu_max) {
  long long values[2] = {0, 0};
  const char* at = cpu_max.data();
  const char* const end = at + cpu_max.size();
  for (long long& value : values) {
    while (at != end && (*at == ' ' || *at == '\n')) ++at;
    const auto [next, error] = std::from_chars(at, end, value);
    if (error != std::errc() || value <= 0) return 0;
    at = next;
  }
  return static_cast<int>(std::clamp<long long>(values[0] / values[1], 1, 1 << 20));
}

int usable_physical_cores() {
  const int cores = affinity_cores();
  const int quota = cgroup_cpus();
  return quota > 0 ? std::min(cores, quota) : cores;
}

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
