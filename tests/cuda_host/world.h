// What the parts of the emulated runtime share: the state of the whole process, streams and their work. Included by
// runtime.cpp, memory.cpp and graphs.cpp alone; everything under World::mutex.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "tests/cuda_host/grid.h"

struct EmulatedGraph {
  struct Node {
    foregate::emu::Launch launch;  // no body: a copy, or a call
    void* to = nullptr;
    const void* from = nullptr;
    std::size_t bytes = 0;
    std::function<void()> call = {};  // a library's
  };
  std::vector<Node> nodes;
  int owners = 1;
};
struct EmulatedStream : EmulatedQueue {
  EmulatedStream();
  EmulatedGraph* capture = nullptr;
  std::deque<std::function<void()>> work;
  std::uint64_t put = 0;   // pieces of work so far
  std::uint64_t done = 0;  // of them
};
struct EmulatedEvent {
  EmulatedStream* stream = nullptr;
  std::uint64_t after = 0;  // so many pieces of the stream's work
};

namespace foregate::emu {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kArenaBytes = std::size_t{64} << 30;  // of addresses
constexpr std::size_t kDeviceBytes = std::size_t{2} << 30;
constexpr std::size_t kSharedBytes = 227 * 1024;
constexpr std::size_t kLargePinned = std::size_t{2} << 20;  // a planted failure can be of these alone
constexpr std::size_t kSharedDefault = 48 * 1024;

struct Allocation {
  std::size_t bytes;
  std::byte* pages;
  std::size_t page_bytes;
};

struct Failure {
  int error = 0;
  int after = 0;
};

struct World {
  std::recursive_mutex mutex;
  Draw draw{1};
  Faults faults;
  std::map<std::string, Failure> failures;
  std::set<Site> seen;
  std::map<const void*, int> shared_limits;
  std::map<std::byte*, Allocation> device;
  std::map<std::byte*, std::size_t> pinned;
  std::vector<EmulatedStream*> streams;
  std::string report;
  cudaError_t sticky = cudaSuccess;
  cudaError_t last = cudaSuccess;
  Counters counters;
  bool protect = true;
  bool open = false;  // device memory is within reach
  int reaches = 0;
  std::byte* arena = nullptr;
  std::size_t arena_used = 0;
};

World& world();
using Lock = std::lock_guard<std::recursive_mutex>;

cudaError_t note(cudaError_t error);
// A planted failure of `name`, if it is its turn.
cudaError_t planted(const char* name);
void set_reach(bool open);

// Device memory is within reach while any of these lives.
struct Reach {
  Reach() {
    set_reach(true);
    ++world().reaches;
  }
  ~Reach() {
    if (--world().reaches == 0) set_reach(!world().protect);
  }
};

// Runs what the stream's queue holds: up to so many pieces, all, or up to an event.
void run_until(EmulatedStream& stream, std::uint64_t done);
void run_all(EmulatedStream& stream);
void run_until(const EmulatedEvent& event);
void run_every_stream();
EmulatedStream& stream_or_default(cudaStream_t stream);
void put(cudaStream_t to, std::function<void()> work);
void put_call(EmulatedQueue& queue, void (*run)(void*), void (*drop)(void*), void* body);
void run_queue(EmulatedQueue& queue);
// A launch into the stream's queue; `drop`: its body ends with it.
void put_launch(cudaStream_t stream, const Launch& launch, bool drop);

}  // namespace foregate::emu
