#include "kernels/cuda/cuda_device.h"

#include <cuda_runtime.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <memory>
#include <utility>

#include "kernels/cuda/cuda_stream.h"
#include "kernels/cuda/device_pages.h"
#include "kernels/cuda/nccl_calls.h"
#include "kernels/cuda/nccl_peers.h"

namespace foregate {
namespace {

constexpr int kLeastMajor = 8;  // bf16 matrix instructions, cp.async

std::string failed(const char* what, cudaError_t error) {
  return std::string(what) + ": " + cudaGetErrorString(error);
}

}  // namespace

bool CudaDevice::open(const GpuOptions& options, std::string* error) {
  int ordinal = options.ordinal;
  int count = 0;
  if (const cudaError_t status = cudaGetDeviceCount(&count); status != cudaSuccess) {
    *error = failed("no GPU", status);
    return false;
  }
  if (options.wraps && ordinal >= 0 && count > 0) ordinal %= count;
  if (ordinal < 0 || ordinal >= count) {
    *error = "GPU " + std::to_string(ordinal) + " is asked for, there are " + std::to_string(count);
    return false;
  }
  cudaDeviceProp prop;
  cudaError_t status = cudaSetDevice(ordinal);
  if (status == cudaSuccess) status = cudaGetDeviceProperties(&prop, ordinal);
  if (status != cudaSuccess) {
    *error = failed("opening the GPU", status);
    return false;
  }
  if (prop.major < kLeastMajor) {
    *error = std::string(prop.name) + " has compute capability " + std::to_string(prop.major) + "." +
             std::to_string(prop.minor) + ", 8.0 is the least";
    return false;
  }
  int driver = 0;
  cudaDriverGetVersion(&driver);
  char text[400];
  std::snprintf(text, sizeof text, "cuda %s, %.1f GB, sm_%d%d, driver %d.%d", prop.name,
                static_cast<double>(prop.totalGlobalMem) * 1e-9, prop.major, prop.minor, driver / 1000,
                driver % 1000 / 10);
  name_ = text;
  ordinal_ = ordinal;
  if (options.library_rows > 0) {
    library_ =
        LibraryProducts::open({.library = options.library, .least_rows = options.library_rows}, &library_missing_);
    name_ += library_ != nullptr ? ", cuBLASLt " + library_->version() : ", no cuBLASLt";
  }
  return true;
}

std::shared_ptr<PageSource> CudaDevice::create_pages(std::string* error) {
  return DevicePages::open(ordinal_, error);
}

// The machine and the place on its bus: what two processes see of one GPU, whatever number each has for it.
std::string CudaDevice::identity() const {
  char machine[256] = {}, bus[64] = {};
  if (gethostname(machine, sizeof machine - 1) != 0) return {};
  if (cudaDeviceGetPCIBusId(bus, sizeof bus, ordinal_) != cudaSuccess) return {};
  return std::string(machine) + " " + bus;
}

std::shared_ptr<Peers> CudaDevice::join_peers(const PeersOptions& options, std::string* error) {
  PeersOptions here = options;
  here.ordinal = ordinal_;
  return join_nccl_peers(here, error);
}

std::string CudaDevice::peers_missing(const std::string& library) const {
  std::string error;
  return load_nccl(library, &error) == nullptr ? error : std::string();
}

bool CudaDevice::name_peers(PeersOptions& options, std::string* error) {
  return make_nccl_id(options.library, &options.id, error);
}

LibraryFigures CudaDevice::library_figures() const {
  return library_ != nullptr ? library_->figures() : LibraryFigures();
}

Memory CudaDevice::allocate(std::size_t bytes) {
  void* data = nullptr;
  if (bytes == 0 || cudaMalloc(&data, bytes) != cudaSuccess) {
    cudaGetLastError();  // being out of memory is an answer, not a state
    return {};
  }
  Memory memory(data, bytes, [](void* at, std::size_t) { cudaFree(at); });
  const bool zero = cudaMemsetAsync(data, 0, bytes, nullptr) == cudaSuccess;
  return zero && cudaStreamSynchronize(nullptr) == cudaSuccess ? std::move(memory) : Memory();
}

Memory CudaDevice::allocate_pinned(std::size_t bytes) {
  void* data = nullptr;
  if (bytes == 0 || cudaHostAlloc(&data, bytes, cudaHostAllocDefault) != cudaSuccess) {
    cudaGetLastError();
    return {};
  }
  std::memset(data, 0, bytes);
  return Memory(data, bytes, [](void* at, std::size_t) { cudaFreeHost(at); });
}

// A failure stays with the device: the next step finds it.
void CudaDevice::copy(void* to, const void* from, std::size_t bytes) {
  if (bytes == 0 || cudaDeviceSynchronize() != cudaSuccess) return;
  if (cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, nullptr) == cudaSuccess) cudaStreamSynchronize(nullptr);
}

std::unique_ptr<Stream> CudaDevice::create_stream() {
  return std::make_unique<CudaStream>(library_.get());
}

std::unique_ptr<Event> CudaDevice::create_event() {
  return std::make_unique<CudaEvent>();
}

std::int64_t CudaDevice::total_bytes() const {
  std::size_t free_bytes = 0, total_bytes = 0;
  return cudaMemGetInfo(&free_bytes, &total_bytes) == cudaSuccess ? static_cast<std::int64_t>(total_bytes) : 0;
}

std::int64_t CudaDevice::free_bytes() const {
  std::size_t free_bytes = 0, total_bytes = 0;
  return cudaMemGetInfo(&free_bytes, &total_bytes) == cudaSuccess ? static_cast<std::int64_t>(free_bytes) : 0;
}

}  // namespace foregate
