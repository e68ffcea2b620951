#include "kernels/cuda/device_pages.h"

#include <iterator>
#include <mutex>
#include <utility>

#include "kernels/api/check.h"

namespace foregate {
namespace {

constexpr unsigned kDriverVersion = 12000;  // whose calls these are

template <class Function>
bool find(const char* name, Function& function) {
  void* found = nullptr;
  cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
  if (cudaGetDriverEntryPointByVersion(name, &found, kDriverVersion, cudaEnableDefault, &result) != cudaSuccess) {
    cudaGetLastError();
    return false;
  }
  function = reinterpret_cast<Function>(found);
  return result == cudaDriverEntryPointSuccess && found != nullptr;
}

bool find_all(PageCalls& calls) {
  return find("cuMemGetAllocationGranularity", calls.granularity) && find("cuMemAddressReserve", calls.reserve) &&
         find("cuMemAddressFree", calls.free) && find("cuMemCreate", calls.create) &&
         find("cuMemRelease", calls.release) && find("cuMemMap", calls.map) && find("cuMemUnmap", calls.unmap) &&
         find("cuMemSetAccess", calls.set_access);
}

// Whose addresses are whose: they go back with what lies behind them. The holder may outlive the pages, which then have
// taken that away already; the calls stay.
struct Reserved {
  std::mutex mutex;
  std::map<CUdeviceptr, DevicePages*> owners;
  PageCalls calls;
};
Reserved& reserved() {
  static Reserved* all = new Reserved;
  return *all;
}

CUdeviceptr address(const void* data) {
  return reinterpret_cast<CUdeviceptr>(data);
}

}  // namespace

DevicePages::DevicePages(int ordinal, const PageCalls& calls) : calls_(calls) {
  prop_.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  prop_.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  prop_.location.id = ordinal;
}

std::shared_ptr<DevicePages> DevicePages::open(int ordinal, std::string* error) {
  PageCalls& calls = reserved().calls;
  if (!find_all(calls)) {
    *error = "the driver has no calls for virtual memory of the GPU";
    return nullptr;
  }
  std::shared_ptr<DevicePages> pages(new DevicePages(ordinal, calls));
  const CUresult asked = calls.granularity(&pages->page_, &pages->prop_, CU_MEM_ALLOC_GRANULARITY_MINIMUM);
  if (asked == CUDA_SUCCESS && pages->page_ > 0) return pages;
  *error = "the GPU has no virtual memory management, error " + std::to_string(asked);
  return nullptr;
}

DevicePages::~DevicePages() {
  cudaDeviceSynchronize();
  while (!mapped_.empty()) take_back(mapped_.begin()->first);
  {
    const std::lock_guard lock(reserved().mutex);
    for (auto& [at, owner] : reserved().owners) owner = owner == this ? nullptr : owner;
  }
  for (const CUmemGenericAllocationHandle handle : idle_) calls_.release(handle);
}

void DevicePages::release_addresses(void* data, std::size_t bytes) {
  const CUdeviceptr begin = address(data);
  DevicePages* owner = nullptr;
  {
    const std::lock_guard lock(reserved().mutex);
    const auto found = reserved().owners.find(begin);
    CHECK(found != reserved().owners.end());
    owner = found->second;
    reserved().owners.erase(found);
  }
  if (owner != nullptr) {
    cudaDeviceSynchronize();
    auto next = owner->mapped_.lower_bound(begin);
    while (next != owner->mapped_.end() && next->first < begin + bytes)
      owner->take_back(std::exchange(next, std::next(next))->first);
  }
  reserved().calls.free(begin, bytes);
}

Memory DevicePages::reserve(std::size_t pieces, std::size_t piece_bytes) {
  const std::size_t bytes = pieces * piece_bytes;
  CUdeviceptr at = 0;
  if (bytes == 0 || bytes / pieces != piece_bytes || bytes % page_ != 0) return {};
  if (calls_.reserve(&at, bytes, 0, 0, 0) != CUDA_SUCCESS) return {};
  const std::lock_guard lock(reserved().mutex);
  reserved().owners[at] = this;
  return Memory(reinterpret_cast<void*>(at), bytes, release_addresses);
}

bool DevicePages::hold(std::size_t bytes) {
  const std::size_t pages = bytes / page_;
  std::vector<CUmemGenericAllocationHandle> made;
  while (made.size() < pages) {
    CUmemGenericAllocationHandle handle = 0;
    if (calls_.create(&handle, page_, &prop_, 0) != CUDA_SUCCESS) {
      for (const CUmemGenericAllocationHandle back : made) calls_.release(back);
      return false;
    }
    made.push_back(handle);
  }
  idle_.insert(idle_.end(), made.begin(), made.end());
  return true;
}

bool DevicePages::take(std::byte* data, std::size_t bytes) {
  CHECK(address(data) % page_ == 0 && bytes % page_ == 0);
  if (idle_.size() < bytes / page_) return false;
  CUmemAccessDesc access = {};
  access.location = prop_.location;
  access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
  std::size_t done = 0;
  for (; done < bytes; done += page_) {
    const CUdeviceptr at = address(data + done);
    CHECK(mapped_.count(at) == 0);
    if (calls_.map(at, page_, 0, idle_.back(), 0) != CUDA_SUCCESS) break;
    mapped_[at] = idle_.back();
    idle_.pop_back();
    if (calls_.set_access(at, page_, &access, 1) == CUDA_SUCCESS) continue;
    take_back(at);
    break;
  }
  const bool zero = done == bytes && cudaMemsetAsync(data, 0, bytes, nullptr) == cudaSuccess &&
                    cudaStreamSynchronize(nullptr) == cudaSuccess;
  if (zero) return true;
  give_back(data, done);
  return false;
}

void DevicePages::take_back(CUdeviceptr at) {
  const auto found = mapped_.find(at);
  CHECK(found != mapped_.end());
  calls_.unmap(at, page_);
  idle_.push_back(found->second);
  mapped_.erase(found);
}

void DevicePages::give_back(std::byte* data, std::size_t bytes) {
  CHECK(address(data) % page_ == 0 && bytes % page_ == 0);
  if (bytes == 0) return;
  cudaDeviceSynchronize();  // a failure is the device's, and the next step's to find
  for (std::size_t done = 0; done < bytes; done += page_) take_back(address(data + done));
}

}  // namespace foregate
