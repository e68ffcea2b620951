// Backends on a GPU: finds the CUDA module, checks that it is of this build, opens a device. Nothing here links a CUDA
// library. Called at boot, any thread.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "kernels/api/peers.h"
#include "kernels/registry/registry.h"

namespace foregate {

struct GpuChoice {
  std::string module;  // path of the module; empty: beside the program, or in ../lib from there
  int ordinal = 0;
};

// A GPU with the module's table. pack_weight is empty: weights are packed on the host by a CPU backend. `isa` is
// "cuda". On failure `device` is empty and *error says why there is no GPU to compute on.
Backend make_gpu_backend(const GpuChoice& choice, std::string* error);

// Memory of that module that host and GPU share, for tests; null with *error.
void* gpu_shared_memory(const GpuChoice& choice, std::size_t bytes, std::string* error);

// Other processes with a GPU each (kernels/api/peers.h); null with *error.
std::unique_ptr<Peers> join_gpu_peers(const GpuChoice& choice, const PeersOptions& options, std::string* error);
bool make_gpu_peer_id(const GpuChoice& choice, const std::string& library, PeerId* id, std::string* error);

}  // namespace foregate
