// The emulated driver: pages of device memory, and its calls by name.
#include <cuda.h>
#include <cuda_runtime.h>
#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>

#include "tests/cuda_host/world.h"

using namespace foregate::emu;

namespace {

constexpr std::size_t kDriverPage = 3 * kPage;  // slots of experts of small models are not whole ones

struct Driver {
  std::map<CUdeviceptr, std::size_t> reserved;
  std::map<CUmemGenericAllocationHandle, bool> made;  // whether addresses lead to it
  std::map<CUdeviceptr, CUmemGenericAllocationHandle> mapped;
  CUmemGenericAllocationHandle last = 0;
};

Driver& driver() {
  static Driver* the = new Driver;
  return *the;
}

std::byte* pointer(CUdeviceptr at) {
  return reinterpret_cast<std::byte*>(at);
}

bool is_reserved(CUdeviceptr at) {
  const auto next = driver().reserved.upper_bound(at);
  if (next == driver().reserved.begin()) return false;
  const auto& [begin, bytes] = *std::prev(next);
  return at + kDriverPage <= begin + bytes;
}

}  // namespace

CUresult cuMemGetAllocationGranularity(std::size_t* bytes, const CUmemAllocationProp* prop,
                                       CUmemAllocationGranularity_flags) {
  if (prop->type != CU_MEM_ALLOCATION_TYPE_PINNED) return CUDA_ERROR_INVALID_VALUE;
  *bytes = kDriverPage;
  return CUDA_SUCCESS;
}
CUresult cuMemAddressReserve(CUdeviceptr* at, std::size_t bytes, std::size_t, CUdeviceptr, unsigned long long) {
  const Lock lock(world().mutex);
  if (bytes == 0 || bytes % kDriverPage != 0) return CUDA_ERROR_INVALID_VALUE;
  // Pages begin at multiples of a page.
  const std::size_t room = bytes + 2 * kDriverPage;
  void* data = mmap(nullptr, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) return CUDA_ERROR_OUT_OF_MEMORY;
  *at = (reinterpret_cast<CUdeviceptr>(data) + kDriverPage - 1) / kDriverPage * kDriverPage;
  driver().reserved[*at] = bytes;
  return CUDA_SUCCESS;
}
CUresult cuMemAddressFree(CUdeviceptr at, std::size_t bytes) {
  const Lock lock(world().mutex);
  const auto found = driver().reserved.find(at);
  if (found == driver().reserved.end() || found->second != bytes) return CUDA_ERROR_INVALID_VALUE;
  const auto behind = driver().mapped.lower_bound(at);
  if (behind != driver().mapped.end() && behind->first < at + bytes) {
    std::fputs("addresses go back with memory behind them\n", stderr);
    std::abort();
  }
  driver().reserved.erase(found);  // the addresses are not used twice
  return CUDA_SUCCESS;
}
CUresult cuMemCreate(CUmemGenericAllocationHandle* handle, std::size_t bytes, const CUmemAllocationProp* prop,
                     unsigned long long) {
  World& w = world();
  const Lock lock(w.mutex);
  if (bytes != kDriverPage || prop->location.type != CU_MEM_LOCATION_TYPE_DEVICE) return CUDA_ERROR_INVALID_VALUE;
  if (planted("cuMemCreate") != cudaSuccess || w.counters.live_bytes + bytes > kDeviceBytes) {
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  w.counters.live_bytes += bytes;
  ++w.counters.live_allocations;
  *handle = ++driver().last;
  driver().made[*handle] = false;
  return CUDA_SUCCESS;
}
CUresult cuMemRelease(CUmemGenericAllocationHandle handle) {
  World& w = world();
  const Lock lock(w.mutex);
  const auto found = driver().made.find(handle);
  if (found == driver().made.end() || found->second) return CUDA_ERROR_INVALID_VALUE;
  driver().made.erase(found);
  w.counters.live_bytes -= kDriverPage;
  --w.counters.live_allocations;
  return CUDA_SUCCESS;
}
CUresult cuMemMap(CUdeviceptr at, std::size_t bytes, std::size_t offset, CUmemGenericAllocationHandle handle,
                  unsigned long long) {
  const Lock lock(world().mutex);
  const auto found = driver().made.find(handle);
  const bool fits = bytes == kDriverPage && offset == 0 && at % kDriverPage == 0 && is_reserved(at);
  if (!fits || found == driver().made.end() || found->second || driver().mapped.count(at) != 0) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (planted("cuMemMap") != cudaSuccess) return CUDA_ERROR_OUT_OF_MEMORY;
  found->second = true;
  driver().mapped[at] = handle;
  ++world().counters.maps;
  return CUDA_SUCCESS;
}
// What a kernel that still runs would touch is gone: the emulated queues run before.
CUresult cuMemUnmap(CUdeviceptr at, std::size_t bytes) {
  World& w = world();
  const Lock lock(w.mutex);
  const auto found = driver().mapped.find(at);
  if (found == driver().mapped.end() || bytes != kDriverPage) return CUDA_ERROR_INVALID_VALUE;
  driver().made[found->second] = false;
  driver().mapped.erase(found);
  w.device.erase(pointer(at));
  madvise(pointer(at), bytes, MADV_DONTNEED);
  mprotect(pointer(at), bytes, PROT_NONE);
  ++w.counters.unmaps;
  return CUDA_SUCCESS;
}
CUresult cuMemSetAccess(CUdeviceptr at, std::size_t bytes, const CUmemAccessDesc* access, std::size_t count) {
  World& w = world();
  const Lock lock(w.mutex);
  if (count != 1 || bytes != kDriverPage || driver().mapped.count(at) == 0 ||
      access->flags != CU_MEM_ACCESS_FLAGS_PROT_READWRITE) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  mprotect(pointer(at), bytes, PROT_READ | PROT_WRITE);
  std::memset(pointer(at), 0xff, bytes);
  w.device[pointer(at)] = {bytes, pointer(at), bytes};
  if (!w.open && w.protect) mprotect(pointer(at), bytes, PROT_NONE);
  return CUDA_SUCCESS;
}

cudaError_t cudaGetDriverEntryPointByVersion(const char* symbol, void** function, unsigned, unsigned long long,
                                             cudaDriverEntryPointQueryResult* result) {
  static const std::map<std::string, void*> calls = {
      {"cuMemGetAllocationGranularity", reinterpret_cast<void*>(&cuMemGetAllocationGranularity)},
      {"cuMemAddressReserve", reinterpret_cast<void*>(&cuMemAddressReserve)},
      {"cuMemAddressFree", reinterpret_cast<void*>(&cuMemAddressFree)},
      {"cuMemCreate", reinterpret_cast<void*>(&cuMemCreate)},
      {"cuMemRelease", reinterpret_cast<void*>(&cuMemRelease)},
      {"cuMemMap", reinterpret_cast<void*>(&cuMemMap)},
      {"cuMemUnmap", reinterpret_cast<void*>(&cuMemUnmap)},
      {"cuMemSetAccess", reinterpret_cast<void*>(&cuMemSetAccess)}};
  const Lock lock(world().mutex);
  const auto found = calls.find(symbol);
  const bool there = found != calls.end() && planted("cudaGetDriverEntryPoint") == cudaSuccess;
  *function = there ? found->second : nullptr;
  *result = there ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
  return cudaSuccess;
}
