#include "kernels/cpu/cpu_device.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "kernels/api/check.h"

namespace foregate {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr std::size_t kAlign = 64;

std::size_t round_up(std::size_t bytes, std::size_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

void release_small(void* data, std::size_t) {
  std::free(data);
}
void release_mapped(void* data, std::size_t bytes) {
  munmap(data, round_up(bytes, kHugePage));
}

// Maps one huge page more than needed and gives back what lies outside the aligned part.
Memory allocate_mapped(std::size_t bytes) {
  if (bytes > SIZE_MAX / 2) return {};
  const std::size_t size = round_up(bytes, kHugePage);
  void* raw = mmap(nullptr, size + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (raw == MAP_FAILED) return {};
  const std::uintptr_t start = reinterpret_cast<std::uintptr_t>(raw);
  const std::uintptr_t aligned = round_up(start, kHugePage);
  if (aligned > start) munmap(raw, aligned - start);
  const std::size_t tail = start + kHugePage - aligned;
  if (tail > 0) munmap(reinterpret_cast<void*>(aligned + size), tail);
  void* data = reinterpret_cast<void*>(aligned);
  madvise(data, size, MADV_HUGEPAGE);
  return Memory(data, bytes, release_mapped);
}

}  // namespace

Memory allocate_host(std::size_t bytes) {
  if (bytes == 0) return {};
  if (bytes >= kHugePage) return allocate_mapped(bytes);
  const std::size_t size = round_up(bytes, kAlign);
  void* data = std::aligned_alloc(kAlign, size);
  if (data == nullptr) return {};
  std::memset(data, 0, size);
  return Memory(data, bytes, release_small);
}

CpuStream::CpuStream(ThreadPool& pool) : pool_(pool) {}
CpuStream::~CpuStream() = default;
void CpuStream::synchronize() {}
ThreadPool& CpuStream::pool() {
  return pool_;
}

CpuStream::Scratch CpuStream::reserve(std::int64_t shared_bytes, std::int64_t worker_bytes) {
  const std::size_t stride = round_up(static_cast<std::size_t>(worker_bytes), 4096) + kAlign;
  const std::size_t workers = stride * static_cast<std::size_t>(pool_.threads());
  if (shared_.bytes() < static_cast<std::size_t>(shared_bytes)) {
    shared_ = Memory();
    shared_ = allocate_host(static_cast<std::size_t>(shared_bytes));
    CHECK(shared_.data() != nullptr);
  }
  if (workers_.bytes() < workers) {
    workers_ = Memory();
    workers_ = allocate_host(workers);
    CHECK(workers_.data() != nullptr);
  }
  return {shared_.data(), workers_.data(), static_cast<std::int64_t>(stride)};
}

void CpuStream::note(const char* table_name) {
  last_table_ = table_name;
}
const char* CpuStream::last_table() const {
  return last_table_;
}

CpuDevice::CpuDevice(std::string isa, int threads) : isa_(std::move(isa)), pool_(threads) {}

std::string CpuDevice::describe() const {
  return "cpu " + isa_ + " " + std::to_string(threads()) + (threads() == 1 ? " thread" : " threads");
}
Memory CpuDevice::allocate(std::size_t bytes) {
  return allocate_host(bytes);
}
std::unique_ptr<Stream> CpuDevice::create_stream() {
  return std::make_unique<CpuStream>(pool_);
}

}  // namespace foregate
