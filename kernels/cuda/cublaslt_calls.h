// The calls of cuBLASLt that are used, found in its library when a device is opened: the module is built and loaded
// without it. Declared as cublasLt.h of CUDA 12 and 13 has them ("cuBLASLt API" of the cuBLAS documentation); where
// that header is, cublaslt_header.cpp compares.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <string>

namespace foregate {

// Objects of the library, by the addresses it gives.
struct LtHandleObject;
struct LtDescObject;
struct LtLayoutObject;
struct LtPreferenceObject;
using LtHandle = LtHandleObject*;
using LtDesc = LtDescObject*;
using LtLayout = LtLayoutObject*;
using LtPreference = LtPreferenceObject*;

struct LtAlgo {
  std::uint64_t data[8];
};
struct LtHeuristic {
  LtAlgo algo;
  std::size_t workspace_bytes;
  int state;  // kLtSuccess: it can be used
  float waves;
  int reserved[4];
};

inline constexpr int kLtSuccess = 0;
inline constexpr int kLtNotSupported = 15;
inline constexpr int kLtF32 = 0;       // cudaDataType
inline constexpr int kLtBf16 = 14;     // likewise
inline constexpr int kLtCompute = 68;  // sums in f32
inline constexpr int kLtTransposed = 1;
inline constexpr int kLtDescTransA = 3;
inline constexpr int kLtPreferWorkspace = 1;   // std::uint64_t: bytes at most
inline constexpr int kLtPreferReduction = 3;   // std::uint32_t: ways to add parts of a sum that blocks share; 0: none
inline constexpr int kLtPreferAlignmentA = 5;  // std::uint32_t, bytes; B, C and D follow

struct LtCalls {
  int (*Create)(LtHandle*) = nullptr;
  int (*Destroy)(LtHandle) = nullptr;
  std::size_t (*GetVersion)() = nullptr;
  int (*MatmulDescCreate)(LtDesc*, int compute, int scale) = nullptr;
  int (*MatmulDescDestroy)(LtDesc) = nullptr;
  int (*MatmulDescSetAttribute)(LtDesc, int attribute, const void* value, std::size_t bytes) = nullptr;
  int (*MatrixLayoutCreate)(LtLayout*, int type, std::uint64_t rows, std::uint64_t cols, std::int64_t ld) = nullptr;
  int (*MatrixLayoutDestroy)(LtLayout) = nullptr;
  int (*MatmulPreferenceCreate)(LtPreference*) = nullptr;
  int (*MatmulPreferenceDestroy)(LtPreference) = nullptr;
  int (*MatmulPreferenceSetAttribute)(LtPreference, int attribute, const void* value, std::size_t bytes) = nullptr;
  int (*MatmulAlgoGetHeuristic)(LtHandle, LtDesc, LtLayout a, LtLayout b, LtLayout c, LtLayout d, LtPreference,
                                int asked, LtHeuristic* found, int* count) = nullptr;
  // d = alpha * op(a) * b + beta * c, in columns; alpha and beta are the host's.
  int (*Matmul)(LtHandle, LtDesc, const void* alpha, const void* a, LtLayout, const void* b, LtLayout, const void* beta,
                const void* c, LtLayout, void* d, LtLayout, const LtAlgo*, void* workspace, std::size_t workspace_bytes,
                cudaStream_t) = nullptr;
};

// Null with *error. An empty name: the library of the system. It stays loaded for good.
const LtCalls* load_cublaslt(const std::string& library, std::string* error);

}  // namespace foregate
