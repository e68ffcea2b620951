// Pages of one GPU: addresses reserved once, and memory that is put behind them and taken away again, by the virtual
// memory management of the driver (CUDA Driver API, "Virtual Memory Management"). What hold() set aside is given out
// and comes back here; the driver does not see it in between, so what shares a budget can never take more of it.
//
// The driver's calls are asked for by name: the module links no libcuda. One thread.
#pragma once

#include <cuda.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kernels/api/page_source.h"

namespace foregate {

// Of the driver; all are there or none.
struct PageCalls {
  decltype(&cuMemGetAllocationGranularity) granularity = nullptr;
  decltype(&cuMemAddressReserve) reserve = nullptr;
  decltype(&cuMemAddressFree) free = nullptr;
  decltype(&cuMemCreate) create = nullptr;
  decltype(&cuMemRelease) release = nullptr;
  decltype(&cuMemMap) map = nullptr;
  decltype(&cuMemUnmap) unmap = nullptr;
  decltype(&cuMemSetAccess) set_access = nullptr;
};

class DevicePages final : public PageSource {
 public:
  // Null with *error where the driver or the GPU cannot.
  static std::shared_ptr<DevicePages> open(int ordinal, std::string* error);
  ~DevicePages() override;
  std::size_t page_bytes() const override { return page_; }
  Memory reserve(std::size_t pieces, std::size_t piece_bytes) override;
  bool take(std::byte* data, std::size_t bytes) override;
  bool hold(std::size_t bytes) override;
  // After the device has done what it was given.
  void give_back(std::byte* data, std::size_t bytes) override;

 private:
  DevicePages(int ordinal, const PageCalls& calls);
  void take_back(CUdeviceptr at);
  static void release_addresses(void* data, std::size_t bytes);

  const PageCalls calls_;
  CUmemAllocationProp prop_ = {};
  std::size_t page_ = 0;
  std::vector<CUmemGenericAllocationHandle> idle_;
  std::map<CUdeviceptr, CUmemGenericAllocationHandle> mapped_;
};

}  // namespace foregate
