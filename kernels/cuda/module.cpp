#include "kernels/cuda/module.h"

#include <cuda_runtime.h>

#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/cuda_stream.h"
#include "kernels/cuda/cuda_table.h"
#include "kernels/cuda/nccl_peers.h"

namespace foregate {
namespace {

std::unique_ptr<Device> open_device(const GpuOptions& options, std::string* error) {
  auto device = std::make_unique<CudaDevice>();
  if (!device->open(options, error)) return nullptr;
  return device;
}

bool library_product(Stream& stream, const void* weights, const void* x, View2<float> y, std::int64_t k) {
  auto& cuda = static_cast<CudaStream&>(stream);
  return cuda.library() != nullptr && cuda.library()->plain(cuda, weights, x, y, k);
}

void* shared_memory(std::size_t bytes) {
  void* data = nullptr;
  return cudaMallocManaged(&data, bytes, cudaMemAttachGlobal) == cudaSuccess ? data : nullptr;
}

}  // namespace
}  // namespace foregate

extern "C" __attribute__((visibility("default"))) const foregate::CudaModule* foregate_cuda_module() {
  static const foregate::CudaModule module = {
      foregate::kCudaModuleBuild, FOREGATE_CUDA_ARCHITECTURES, &foregate::cuda_table(),   foregate::open_device,
      foregate::library_product,  foregate::shared_memory,     foregate::join_nccl_peers, foregate::make_nccl_id};
  return &module;
}
