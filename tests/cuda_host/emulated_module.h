// The emulated CUDA module as a program sees it: its path, and by dlsym the faults of the emulator inside it. Test
// thread.
#pragma once

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>

namespace foregate::testing_support {

inline const char* cuda_host_module() {
  return FOREGATE_CUDA_HOST_MODULE;
}

template <class Function>
Function* module_symbol(const char* name) {
  void* handle = dlopen(cuda_host_module(), RTLD_NOW | RTLD_LOCAL);
  EXPECT_NE(handle, nullptr) << dlerror();
  void* symbol = handle == nullptr ? nullptr : dlsym(handle, name);
  EXPECT_NE(symbol, nullptr) << name;
  return reinterpret_cast<Function*>(symbol);
}
inline void fail_module_calls(const char* call, int error, int after) {
  module_symbol<void(const char*, int, int)>("foregate_cuda_host_fail")(call, error, after);
}
inline void skip_module_stream_waits() {
  module_symbol<void()>("foregate_cuda_host_skip_stream_waits")();
}
inline void reset_module() {
  module_symbol<void()>("foregate_cuda_host_reset")();
}
inline std::uint64_t module_launches() {
  return module_symbol<std::uint64_t()>("foregate_cuda_host_launches")();
}
inline std::uint64_t module_graph_launches() {
  return module_symbol<std::uint64_t()>("foregate_cuda_host_graph_launches")();
}
inline std::uint64_t module_waits() {
  return module_symbol<std::uint64_t()>("foregate_cuda_host_waits")();
}
inline std::uint64_t module_live_bytes() {
  return module_symbol<std::uint64_t()>("foregate_cuda_host_live_bytes")();
}

}  // namespace foregate::testing_support
