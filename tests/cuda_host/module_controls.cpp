// The emulator's faults for whoever loads the emulated module: what tests of the engine reach by dlsym.
#include "tests/cuda_host/emulator.h"

#define FOREGATE_EXPORT extern "C" __attribute__((visibility("default")))

FOREGATE_EXPORT void foregate_cuda_host_fail(const char* call, int error, int after) {
  foregate::emu::fail_calls(call, error, after);
}
FOREGATE_EXPORT void foregate_cuda_host_skip_stream_waits() {
  foregate::emu::skip_stream_waits();
}
FOREGATE_EXPORT void foregate_cuda_host_reset() {
  foregate::emu::clear_faults();
  foregate::emu::forget_errors();
}
FOREGATE_EXPORT std::uint64_t foregate_cuda_host_launches() {
  return foregate::emu::counters().launches;
}
FOREGATE_EXPORT std::uint64_t foregate_cuda_host_graph_launches() {
  return foregate::emu::counters().graph_launches;
}
FOREGATE_EXPORT std::uint64_t foregate_cuda_host_waits() {
  return foregate::emu::counters().waits;
}
FOREGATE_EXPORT std::uint64_t foregate_cuda_host_live_bytes() {
  return foregate::emu::counters().live_bytes;
}
FOREGATE_EXPORT std::uint64_t foregate_cuda_host_unmaps() {
  return foregate::emu::counters().unmaps;
}
