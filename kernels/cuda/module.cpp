#include "kernels/cuda/module.h"

#include <cuda_runtime.h>

#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/cuda_table.h"
#include "kernels/cuda/nccl_peers.h"

namespace foregate {
namespace {

std::unique_ptr<Device> open_device(int ordinal, std::string* error) {
  auto device = std::make_unique<CudaDevice>();
  if (!device->open(ordinal, error)) return nullptr;
  return device;
}

void* shared_memory(std::size_t bytes) {
  void* data = nullptr;
  return cudaMallocManaged(&data, bytes, cudaMemAttachGlobal) == cudaSuccess ? data : nullptr;
}

}  // namespace
}  // namespace foregate

extern "C" __attribute__((visibility("default"))) const foregate::CudaModule* foregate_cuda_module() {
  static const foregate::CudaModule module = {
      foregate::kCudaModuleBuild, FOREGATE_CUDA_ARCHITECTURES, &foregate::cuda_table(), foregate::open_device,
      foregate::shared_memory,    foregate::join_nccl_peers,   foregate::make_nccl_id};
  return &module;
}
