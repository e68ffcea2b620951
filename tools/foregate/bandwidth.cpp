#include "tools/foregate/bandwidth.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

namespace foregate {
namespace {

using Lane = std::uint64_t __attribute__((vector_size(64)));
constexpr std::size_t kStreams = 4;  // several streams per thread keep more lines in flight than one

#define FOREGATE_READ_BODY                                       \
  Lane sums[kStreams] = {};                                      \
  const std::size_t part = count / kStreams;                     \
  for (std::size_t i = 0; i < part; ++i) {                       \
    for (std::size_t s = 0; s < kStreams; ++s) {                 \
      __builtin_prefetch(data + s * part + i + 64);              \
      sums[s] ^= data[s * part + i];                             \
    }                                                            \
  }                                                              \
  for (std::size_t s = 1; s < kStreams; ++s) sums[0] ^= sums[s]; \
  std::uint64_t folded = 0;                                      \
  for (int lane = 0; lane < 8; ++lane) folded ^= sums[0][lane];  \
  return folded;

__attribute__((target("avx512f"))) std::uint64_t read_avx512(const Lane* data, std::size_t count) {
  FOREGATE_READ_BODY
}
__attribute__((target("avx2"))) std::uint64_t read_avx2(const Lane* data, std::size_t count){
    FOREGATE_READ_BODY} std::uint64_t read_plain(const Lane* data, std::size_t count) {
  FOREGATE_READ_BODY
}
#undef FOREGATE_READ_BODY

using Reader = std::uint64_t (*)(const Lane*, std::size_t);
Reader pick_reader() {
  if (__builtin_cpu_supports("avx512f")) return read_avx512;
  if (__builtin_cpu_supports("avx2")) return read_avx2;
  return read_plain;
}

struct Mapping {
  explicit Mapping(std::size_t size) : bytes(size) {
    void* at = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) return;
    madvise(at, size, MADV_HUGEPAGE);
    data = static_cast<std::byte*>(at);
    std::fill_n(reinterpret_cast<std::uint64_t*>(data), size / 8, 0x5a5a5a5a5a5a5a5aULL);
  }
  ~Mapping() {
    if (data != nullptr) munmap(data, bytes);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  std::byte* data = nullptr;
  std::size_t bytes;
};

}  // namespace

double measure_read_bandwidth(int threads, std::size_t bytes, int rounds) {
  const std::size_t unit = sizeof(Lane) * kStreams * static_cast<std::size_t>(threads);
  const Mapping mapping(bytes / unit * unit);
  if (mapping.data == nullptr || mapping.bytes == 0) return 0.0;
  const std::size_t lanes = mapping.bytes / sizeof(Lane) / static_cast<std::size_t>(threads);
  const auto* data = reinterpret_cast<const Lane*>(mapping.data);
  const Reader reader = pick_reader();
  std::atomic<std::uint64_t> sink{0};
  std::barrier gate(threads + 1);
  std::vector<std::jthread> workers;
  for (int t = 0; t < threads; ++t) {
    workers.emplace_back([&, t] {
      for (int round = 0; round < rounds; ++round) {
        gate.arrive_and_wait();
        sink ^= reader(data + static_cast<std::size_t>(t) * lanes, lanes);
        gate.arrive_and_wait();
      }
    });
  }
  std::vector<double> rates;
  for (int round = 0; round < rounds; ++round) {
    gate.arrive_and_wait();
    const auto start = std::chrono::steady_clock::now();
    gate.arrive_and_wait();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    rates.push_back(static_cast<double>(mapping.bytes) / took.count());
  }
  workers.clear();
  std::nth_element(rates.begin(), rates.begin() + static_cast<std::ptrdiff_t>(rates.size() / 2), rates.end());
  return rates[rates.size() / 2];
}

}  // namespace foregate
