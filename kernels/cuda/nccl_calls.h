// The calls of NCCL that are used, found in its library when peers are made: the module is built and loaded without
// NCCL. Declared as nccl.h of 2.14 and later has them (NVIDIA/nccl, src/nccl.h.in), whose binary interface has stayed.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <string>

namespace foregate {

struct NcclUniqueId {
  char internal[128];
};
struct NcclConfig {  // ncclConfig_t of 2.14; later ones read no more of it than `size` and `version` say
  std::size_t size = sizeof(NcclConfig);
  unsigned magic = 0xcafebeef;
  unsigned version = 21400;
  int blocking = 0;
};
using NcclComm = void*;

inline constexpr int kNcclSuccess = 0;
inline constexpr int kNcclInProgress = 7;
inline constexpr int kNcclUint8 = 1;

struct NcclCalls {
  int (*GetUniqueId)(NcclUniqueId*) = nullptr;
  int (*CommInitRankConfig)(NcclComm*, int ranks, NcclUniqueId, int rank, NcclConfig*) = nullptr;
  int (*CommGetAsyncError)(NcclComm, int* state) = nullptr;
  int (*CommAbort)(NcclComm) = nullptr;
  int (*GroupStart)() = nullptr;
  int (*GroupEnd)() = nullptr;
  int (*Send)(const void*, std::size_t count, int type, int peer, NcclComm, cudaStream_t) = nullptr;
  int (*Recv)(void*, std::size_t count, int type, int peer, NcclComm, cudaStream_t) = nullptr;
  const char* (*GetErrorString)(int) = nullptr;
};

// Null with *error. A library stays loaded for good.
const NcclCalls* load_nccl(const std::string& library, std::string* error);

}  // namespace foregate
