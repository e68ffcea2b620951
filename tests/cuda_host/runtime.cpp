// The emulated runtime API: memory, streams whose work waits, events, errors.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <vector>

#include "tests/cuda_host/grid.h"

struct EmulatedStream {
  std::deque<std::function<void()>> work;
  std::uint64_t put = 0;   // pieces of work so far
  std::uint64_t done = 0;  // of them
};
struct EmulatedEvent {
  EmulatedStream* stream = nullptr;
  std::uint64_t after = 0;  // so many pieces of the stream's work
};

namespace foregate::emu {
namespace {

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

World& world() {
  static World* the = new World;  // outlives whatever is freed at exit
  return *the;
}

using Lock = std::lock_guard<std::recursive_mutex>;

cudaError_t note(cudaError_t error) {
  if (error != cudaSuccess) world().last = error;
  return error;
}

// A planted failure of `name`, if it is its turn.
cudaError_t planted(const char* name) {
  World& w = world();
  if (w.sticky != cudaSuccess) return note(w.sticky);
  const auto found = w.failures.find(name);
  if (found == w.failures.end()) return cudaSuccess;
  if (found->second.after-- > 0) return cudaSuccess;
  const auto error = static_cast<cudaError_t>(found->second.error);
  if (error >= cudaErrorIllegalAddress) w.sticky = error;
  return note(error);
}

void set_reach(bool open) {
  World& w = world();
  if (w.open == open) return;
  w.open = open;
  for (const auto& [data, allocation] : w.device) {
    mprotect(allocation.pages, allocation.page_bytes, open ? PROT_READ | PROT_WRITE : PROT_NONE);
  }
}

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

void run_until(EmulatedStream& stream, std::uint64_t done) {
  if (stream.work.empty() || stream.done >= done) return;
  Reach reach;
  while (!stream.work.empty() && stream.done < done) {
    const auto work = std::move(stream.work.front());
    stream.work.pop_front();
    work();
    ++stream.done;
  }
}

void run_all(EmulatedStream& stream) {
  run_until(stream, stream.put);
}

void run_until(const EmulatedEvent& event) {
  const auto& streams = world().streams;
  if (std::find(streams.begin(), streams.end(), event.stream) != streams.end()) run_until(*event.stream, event.after);
}

void run_every_stream() {
  for (EmulatedStream* stream : world().streams) run_all(*stream);
}

EmulatedStream& stream_or_default(cudaStream_t stream) {
  static EmulatedStream* none = new EmulatedStream;
  World& w = world();
  if (stream != nullptr) return *stream;
  if (w.streams.empty() || w.streams.front() != none) w.streams.insert(w.streams.begin(), none);
  return *none;
}

void put(cudaStream_t to, std::function<void()> work) {
  EmulatedStream& stream = stream_or_default(to);
  stream.work.push_back(std::move(work));
  ++stream.put;
  if (world().draw.below(4) == 0) run_all(stream);
}

}  // namespace

void set_seed(std::uint64_t seed) {
  world().draw = Draw(seed);
}
std::vector<Site> barriers_seen() {
  return {world().seen.begin(), world().seen.end()};
}
void forget_barriers() {
  world().seen.clear();
}
void skip_barrier(const Site& site) {
  world().faults.skipped.insert(site);
}
void turn_shuffles(int lanes) {
  world().faults.turn = lanes;
}
void skip_copy_waits() {
  world().faults.no_copy_waits = true;
}
void fail_calls(const char* name, int error, int after) {
  world().failures[name] = {error, after};
}
void clear_faults() {
  world().faults = {};
  world().failures.clear();
}
std::string last_report() {
  return world().report;
}
void forget_errors() {
  world().sticky = world().last = cudaSuccess;
  world().report.clear();
  for (EmulatedStream* stream : world().streams) {
    stream->work.clear();
    stream->done = stream->put;
  }
}
void protect_device_memory(bool on) {
  world().protect = on;
  set_reach(!on);
}
Counters counters() {
  return world().counters;
}

cudaError_t set_shared_limit(const void* kernel, int bytes) {
  if (bytes > static_cast<int>(kSharedBytes)) return note(cudaErrorInvalidValue);
  world().shared_limits[kernel] = bytes;
  return cudaSuccess;
}

cudaError_t enqueue(const Launch& launch) {
  World& w = world();
  const Lock lock(w.mutex);
  const dim3 block = launch.config.blockDim;
  const dim3 grid = launch.config.gridDim;
  const auto limit = w.shared_limits.find(launch.kernel);
  const std::size_t shared_limit = limit == w.shared_limits.end() ? kSharedDefault : limit->second;
  const bool fits = block.x * block.y * block.z >= 1 && block.x * block.y * block.z <= 1024 && grid.x >= 1 &&
                    grid.y >= 1 && grid.z >= 1 && grid.y <= 65535 && grid.z <= 65535 &&
                    launch.config.dynamicSmemBytes <= shared_limit;
  cudaError_t error = planted("launch");
  if (error == cudaSuccess && !fits) error = note(cudaErrorInvalidValue);
  if (error != cudaSuccess) {
    launch.drop(launch.body);
    return error;
  }
  ++w.counters.launches;
  const std::uint64_t seed = w.draw.next();
  put(launch.config.stream, [launch, seed] {
    World& w = world();
    if (w.sticky == cudaSuccess) {
      w.report = run_grid(launch, seed, w.faults, w.seen);
      if (!w.report.empty()) w.sticky = cudaErrorLaunchFailure;
    }
    launch.drop(launch.body);
  });
  return cudaSuccess;
}

}  // namespace foregate::emu

using namespace foregate::emu;

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return planted("cudaGetDeviceCount");
}
cudaError_t cudaSetDevice(int) {
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* prop, int) {
  *prop = {};
  std::snprintf(prop->name, sizeof prop->name, "emulated device");
  prop->totalGlobalMem = kDeviceBytes;
  prop->sharedMemPerBlockOptin = kSharedBytes;
  prop->multiProcessorCount = 4;
  prop->major = 9;
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = 0;
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(std::size_t* free_bytes, std::size_t* total_bytes) {
  *total_bytes = kDeviceBytes;
  *free_bytes = kDeviceBytes - world().counters.live_bytes;
  return cudaSuccess;
}

// Every allocation ends at a page that nothing may touch, and begins as NaNs.
cudaError_t cudaMalloc(void** data, std::size_t bytes) {
  World& w = world();
  const Lock lock(w.mutex);
  *data = nullptr;
  if (const cudaError_t error = planted("cudaMalloc"); error != cudaSuccess) return error;
  if (w.arena == nullptr) {
    void* arena = mmap(nullptr, kArenaBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (arena == MAP_FAILED) return note(cudaErrorMemoryAllocation);
    w.arena = static_cast<std::byte*>(arena);
  }
  const std::size_t aligned = (bytes + 255) / 256 * 256;
  const std::size_t page_bytes = (aligned + kPage - 1) / kPage * kPage;
  if (bytes == 0 || w.counters.live_bytes + page_bytes > kDeviceBytes ||
      w.arena_used + page_bytes + kPage > kArenaBytes) {
    return note(cudaErrorMemoryAllocation);
  }
  std::byte* pages = w.arena + w.arena_used;
  w.arena_used += page_bytes + kPage;
  mprotect(pages, page_bytes, PROT_READ | PROT_WRITE);
  std::memset(pages, 0xff, page_bytes);
  std::byte* begin = pages + page_bytes - aligned;
  w.device[begin] = {bytes, pages, page_bytes};
  if (!w.open && w.protect) mprotect(pages, page_bytes, PROT_NONE);
  ++w.counters.live_allocations;
  w.counters.live_bytes += page_bytes;
  *data = begin;
  return cudaSuccess;
}

cudaError_t cudaFree(void* data) {
  World& w = world();
  const Lock lock(w.mutex);
  if (data == nullptr) return cudaSuccess;
  run_every_stream();
  const auto found = w.device.find(static_cast<std::byte*>(data));
  if (found == w.device.end()) return note(cudaErrorInvalidValue);
  const Allocation allocation = found->second;
  w.device.erase(found);
  madvise(allocation.pages, allocation.page_bytes, MADV_DONTNEED);
  mprotect(allocation.pages, allocation.page_bytes, PROT_NONE);  // for good: addresses are not used twice
  --w.counters.live_allocations;
  w.counters.live_bytes -= allocation.page_bytes;
  return cudaSuccess;
}

cudaError_t cudaHostAlloc(void** data, std::size_t bytes, unsigned) {
  const Lock lock(world().mutex);
  *data = nullptr;
  const char* const call = bytes > kLargePinned ? "large cudaHostAlloc" : "cudaHostAlloc";
  if (const cudaError_t error = planted(call); error != cudaSuccess) return error;
  *data = std::aligned_alloc(kPage, (bytes + kPage - 1) / kPage * kPage);
  if (*data == nullptr) return note(cudaErrorMemoryAllocation);
  world().pinned[static_cast<std::byte*>(*data)] = bytes;
  return cudaSuccess;
}
cudaError_t cudaFreeHost(void* data) {
  const Lock lock(world().mutex);
  run_every_stream();
  world().pinned.erase(static_cast<std::byte*>(data));
  std::free(data);
  return cudaSuccess;
}

cudaError_t cudaMallocManaged(void** data, std::size_t bytes, unsigned) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  *data = memory == MAP_FAILED ? nullptr : memory;
  return *data == nullptr ? note(cudaErrorMemoryAllocation) : cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* data) {
  World& w = world();
  const Lock lock(w.mutex);
  *attributes = {cudaMemoryTypeUnregistered, 0, nullptr, nullptr};
  auto* at = static_cast<std::byte*>(const_cast<void*>(data));
  const auto inside = [at](const auto& map, auto bytes_of) {
    auto next = map.upper_bound(at);
    if (next == map.begin()) return false;
    --next;
    return at < next->first + bytes_of(next->second);
  };
  if (inside(w.device, [](const Allocation& a) { return a.bytes; })) attributes->type = cudaMemoryTypeDevice;
  if (inside(w.pinned, [](std::size_t bytes) { return bytes; })) attributes->type = cudaMemoryTypeHost;
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
  const Lock lock(world().mutex);
  if (const cudaError_t error = planted("memcpy"); error != cudaSuccess) return error;
  ++world().counters.copies;
  put(stream, [=] { std::memcpy(to, from, bytes); });
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t stream) {
  const Lock lock(world().mutex);
  if (const cudaError_t error = planted("memset"); error != cudaSuccess) return error;
  put(stream, [=] { std::memset(to, value, bytes); });
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  const Lock lock(world().mutex);
  *stream = new EmulatedStream;
  world().streams.push_back(*stream);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const Lock lock(world().mutex);
  run_all(*stream);
  std::erase(world().streams, stream);
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const Lock lock(world().mutex);
  run_all(stream_or_default(stream));
  return planted("synchronize");
}
cudaError_t cudaDeviceSynchronize() {
  const Lock lock(world().mutex);
  run_every_stream();
  return planted("synchronize");
}

// What an event stands for is done when somebody asks for it: the host at once, a stream when it comes to that point.
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new EmulatedEvent;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const Lock lock(world().mutex);
  event->stream = &stream_or_default(stream);
  event->after = event->stream->put;
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const Lock lock(world().mutex);
  run_until(*event);
  return planted("synchronize");
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  const Lock lock(world().mutex);
  if (event->stream != nullptr) put(stream, [at = *event] { run_until(at); });
  return cudaSuccess;
}

cudaError_t cudaGetLastError() {
  const cudaError_t last = world().last;
  world().last = cudaSuccess;
  return world().sticky != cudaSuccess ? world().sticky : last;
}
const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess: return "no error";
    case cudaErrorInvalidValue: return "invalid argument";
    case cudaErrorMemoryAllocation: return "out of memory";
    case cudaErrorNoDevice: return "no CUDA-capable device is detected";
    case cudaErrorIllegalAddress: return "an illegal memory access was encountered";
    case cudaErrorLaunchFailure: return "unspecified launch failure";
  }
  return "unknown error";
}
