// The emulated runtime API: device memory, pinned memory, memory of both.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "tests/cuda_host/world.h"

using namespace foregate::emu;

// Every allocation ends at a page that nothing may touch, and begins as NaNs.
cudaError_t cudaMalloc(void** data, std::size_t bytes) {
  World& w = world();
  const Lock lock(w.mutex);
  *data = nullptr;
  if (const cudaError_t error = planted("cudaMalloc"); error != cudaSuccess) return error;
  if (w.arena == nullptr) {
    void* arena = mmap(nullptr, kArenaBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (arena == MAP_FAILED) return note(cudaErrorMemoryAllocation);
    w.arena = static_cast<std::byte*>(arena);
  }
  const std::size_t aligned = (bytes + 255) / 256 * 256;
  const std::size_t page_bytes = (aligned + kPage - 1) / kPage * kPage;
  if (bytes == 0 || w.counters.live_bytes + page_bytes > kDeviceBytes ||
      w.arena_used + page_bytes + kPage > kArenaBytes) {
    return note(cudaErrorMemoryAllocation);
  }
  std::byte* pages = w.arena + w.arena_used;
  w.arena_used += page_bytes + kPage;
  mprotect(pages, page_bytes, PROT_READ | PROT_WRITE);
  std::memset(pages, 0xff, page_bytes);
  std::byte* begin = pages + page_bytes - aligned;
  w.device[begin] = {bytes, pages, page_bytes};
  if (!w.open && w.protect) mprotect(pages, page_bytes, PROT_NONE);
  ++w.counters.live_allocations;
  w.counters.live_bytes += page_bytes;
  *data = begin;
  return cudaSuccess;
}

cudaError_t cudaFree(void* data) {
  World& w = world();
  const Lock lock(w.mutex);
  if (data == nullptr) return cudaSuccess;
  run_every_stream();
  const auto found = w.device.find(static_cast<std::byte*>(data));
  if (found == w.device.end()) return note(cudaErrorInvalidValue);
  const Allocation allocation = found->second;
  w.device.erase(found);
  madvise(allocation.pages, allocation.page_bytes, MADV_DONTNEED);
  mprotect(allocation.pages, allocation.page_bytes, PROT_NONE);  // for good: addresses are not used twice
  --w.counters.live_allocations;
  w.counters.live_bytes -= allocation.page_bytes;
  return cudaSuccess;
}

cudaError_t cudaHostAlloc(void** data, std::size_t bytes, unsigned) {
  const Lock lock(world().mutex);
  *data = nullptr;
  const char* const call = bytes > kLargePinned ? "large cudaHostAlloc" : "cudaHostAlloc";
  if (const cudaError_t error = planted(call); error != cudaSuccess) return error;
  *data = std::aligned_alloc(kPage, (bytes + kPage - 1) / kPage * kPage);
  if (*data == nullptr) return note(cudaErrorMemoryAllocation);
  world().pinned[static_cast<std::byte*>(*data)] = bytes;
  return cudaSuccess;
}
cudaError_t cudaFreeHost(void* data) {
  const Lock lock(world().mutex);
  run_every_stream();
  world().pinned.erase(static_cast<std::byte*>(data));
  std::free(data);
  return cudaSuccess;
}

cudaError_t cudaMallocManaged(void** data, std::size_t bytes, unsigned) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  *data = memory == MAP_FAILED ? nullptr : memory;
  return *data == nullptr ? note(cudaErrorMemoryAllocation) : cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* data) {
  World& w = world();
  const Lock lock(w.mutex);
  *attributes = {cudaMemoryTypeUnregistered, 0, nullptr, nullptr};
  auto* at = static_cast<std::byte*>(const_cast<void*>(data));
  const auto inside = [at](const auto& map, auto bytes_of) {
    auto next = map.upper_bound(at);
    if (next == map.begin()) return false;
    --next;
    return at < next->first + bytes_of(next->second);
  };
  if (inside(w.device, [](const Allocation& a) { return a.bytes; })) attributes->type = cudaMemoryTypeDevice;
  if (inside(w.pinned, [](std::size_t bytes) { return bytes; })) attributes->type = cudaMemoryTypeHost;
  return cudaSuccess;
}
