// The boundary of the CUDA backend: a shared module with one C function, loaded by kernels/registry, so that the server
// itself needs no CUDA library. Module and server come from one build; `build` says so when they do not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "kernels/api/op_table.h"
#include "kernels/api/peers.h"

namespace foregate {

struct GpuOptions {
  int ordinal = 0;
  bool wraps = false;             // where there are fewer GPUs, counts on from the first
  std::int64_t library_rows = 0;  // products of so many rows and more by cuBLASLt; 0: none
  std::string library = {};       // of cuBLASLt; empty: the system's
};

struct CudaModule {
  const char* build;          // kCudaModuleBuild of the module
  const char* architectures;  // what it was compiled for, or "emulation"
  const OpTable* ops;         // complete but for pack_weight, which is the host's
  // The GPU, or null with *error.
  std::unique_ptr<Device> (*open)(const GpuOptions& options, std::string* error);
  // y [rows, n] = x [rows, k] * w [n, k]^T of plain rows in bf16, by cuBLASLt: what speeds are compared with. False
  // without it, or where the stream's device was opened without it.
  bool (*library_product)(Stream& stream, const void* weights, const void* x, View2<float> y, std::int64_t k);
  // Memory that host and kernels both read and write, for tests whose arrays are the host's. Never freed. Null: none.
  void* (*shared_memory)(std::size_t bytes);
  // Other processes with a GPU each, by NCCL; null with *error. Its library is looked for when this is called.
  std::unique_ptr<Peers> (*join_peers)(const PeersOptions& options, std::string* error);
  bool (*make_peer_id)(const std::string& library, PeerId* id, std::string* error);
};

// Changes with anything that crosses the boundary.
inline constexpr const char* kCudaModuleBuild = "foregate-cuda-6";
inline constexpr const char* kCudaModuleEntry = "foregate_cuda_module";
using CudaModuleEntry = const CudaModule* (*)();

}  // namespace foregate
