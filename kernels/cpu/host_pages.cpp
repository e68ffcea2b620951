#include "kernels/cpu/host_pages.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

#include "kernels/api/check.h"

namespace foregate {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;
// Each piece with huge pages in it is an area of its own to the kernel, which has some 65,000 for a process.
constexpr std::size_t kMostHugePieces = 8192;

std::size_t round_up(std::size_t bytes, std::size_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

void release(void* data, std::size_t bytes) {
  munmap(data, bytes);
}

// Huge pages lie within one piece only: they come and go with it.
void allow_huge_pages(std::byte* data, std::size_t pieces, std::size_t piece_bytes) {
  if (piece_bytes < 2 * kHugePage || pieces > kMostHugePieces) return;
  for (std::size_t i = 0; i < pieces; ++i) {
    const auto begin = reinterpret_cast<std::uintptr_t>(data) + i * piece_bytes;
    const std::uintptr_t first = round_up(begin, kHugePage);
    const std::uintptr_t last = (begin + piece_bytes) / kHugePage * kHugePage;
    if (last > first) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
  }
}

}  // namespace

HostPages::HostPages() : page_bytes_(static_cast<std::size_t>(sysconf(_SC_PAGESIZE))) {}

Memory HostPages::reserve(std::size_t pieces, std::size_t piece_bytes) {
  if (pieces == 0 || piece_bytes == 0 || pieces > SIZE_MAX / 4 / piece_bytes) return {};
  const std::size_t bytes = pieces * piece_bytes;
  CHECK(bytes % page_bytes_ == 0);
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) return {};
  madvise(data, bytes, MADV_NOHUGEPAGE);  // a huge page would take what lies beside a page that is used
  allow_huge_pages(static_cast<std::byte*>(data), pieces, piece_bytes);
  return Memory(data, bytes, release);
}

void HostPages::give_back(std::byte* data, std::size_t bytes) {
  CHECK(reinterpret_cast<std::uintptr_t>(data) % page_bytes_ == 0 && bytes % page_bytes_ == 0);
  if (bytes > 0) CHECK(madvise(data, bytes, MADV_DONTNEED) == 0);
}

}  // namespace foregate
