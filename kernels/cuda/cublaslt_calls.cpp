#include "kernels/cuda/cublaslt_calls.h"

#include <dlfcn.h>

#include <map>
#include <mutex>

#ifndef FOREGATE_CUBLASLT  // names, the first one that is there
#define FOREGATE_CUBLASLT "libcublasLt.so.13", "libcublasLt.so.12"
#endif

namespace foregate {
namespace {

template <class Function>
bool find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  return function != nullptr;
}

bool find_all(void* library, LtCalls& calls) {
  return find(library, "cublasLtCreate", calls.Create) && find(library, "cublasLtDestroy", calls.Destroy) &&
         find(library, "cublasLtGetVersion", calls.GetVersion) &&
         find(library, "cublasLtMatmulDescCreate", calls.MatmulDescCreate) &&
         find(library, "cublasLtMatmulDescDestroy", calls.MatmulDescDestroy) &&
         find(library, "cublasLtMatmulDescSetAttribute", calls.MatmulDescSetAttribute) &&
         find(library, "cublasLtMatrixLayoutCreate", calls.MatrixLayoutCreate) &&
         find(library, "cublasLtMatrixLayoutDestroy", calls.MatrixLayoutDestroy) &&
         find(library, "cublasLtMatmulPreferenceCreate", calls.MatmulPreferenceCreate) &&
         find(library, "cublasLtMatmulPreferenceDestroy", calls.MatmulPreferenceDestroy) &&
         find(library, "cublasLtMatmulPreferenceSetAttribute", calls.MatmulPreferenceSetAttribute) &&
         find(library, "cublasLtMatmulAlgoGetHeuristic", calls.MatmulAlgoGetHeuristic) &&
         find(library, "cublasLtMatmul", calls.Matmul);
}

}  // namespace

const LtCalls* load_cublaslt(const std::string& library, std::string* error) {
  static std::mutex mutex;
  static std::map<std::string, LtCalls> known;
  const std::lock_guard lock(mutex);
  if (const auto found = known.find(library); found != known.end()) return &found->second;
  void* handle = nullptr;
  if (!library.empty()) {
    handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  } else {
    for (const char* name : {FOREGATE_CUBLASLT}) {
      if (handle == nullptr) handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    }
  }
  LtCalls calls;
  if (handle == nullptr) {
    const char* why = dlerror();
    *error = std::string("no cuBLASLt: ") + (why != nullptr ? why : "not found");
    return nullptr;
  }
  if (!find_all(handle, calls)) {
    *error = "the library of cuBLASLt lacks calls of version 12";
    return nullptr;
  }
  return &(known[library] = calls);
}

}  // namespace foregate
