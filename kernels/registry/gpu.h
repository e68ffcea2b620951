// Backends on a GPU: finds the CUDA module, checks that it is of this build, opens a device. Nothing here links a CUDA
// library. Called at boot, any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "kernels/api/peers.h"
#include "kernels/registry/registry.h"

namespace foregate {

struct GpuChoice {
  std::string module;  // path of the module; empty: beside the program, or in ../lib from there
  int ordinal = 0;
  bool wraps = false;             // where there are fewer GPUs, counts on from the first
  std::int64_t library_rows = 0;  // products of so many rows and more by cuBLASLt; 0: none
};

// A GPU with the module's table. pack_weight is empty: weights are packed on the host by a CPU backend. `isa` is
// "cuda". On failure `device` is empty and *error says why there is no GPU to compute on.
Backend make_gpu_backend(const GpuChoice& choice, std::string* error);

// CudaModule::library_product of that module, on a stream of a device of it.
bool gpu_library_product(const GpuChoice& choice, Stream& stream, const void* weights, const void* x, View2<float> y,
                         std::int64_t k);

// Memory of that module that host and GPU share, for tests; null with *error.
void* gpu_shared_memory(const GpuChoice& choice, std::size_t bytes, std::string* error);

// Other processes with a GPU each (kernels/api/peers.h); null with *error.
std::unique_ptr<Peers> join_gpu_peers(const GpuChoice& choice, const PeersOptions& options, std::string* error);
bool make_gpu_peer_id(const GpuChoice& choice, const std::string& library, PeerId* id, std::string* error);

}  // namespace foregate
