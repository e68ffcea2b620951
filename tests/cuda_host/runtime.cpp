// The emulated runtime API: streams whose work waits, events, errors. memory.cpp and graphs.cpp have the rest.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <utility>

#include "tests/cuda_host/world.h"

namespace foregate::emu {

World& world() {
  static World* the = new World;  // outlives whatever is freed at exit
  return *the;
}

cudaError_t note(cudaError_t error) {
  if (error != cudaSuccess) world().last = error;
  return error;
}

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

// What runs a launch that sits in a stream's queue.
void put_launch(cudaStream_t stream, const Launch& launch, bool drop) {
  ++world().counters.launches;
  const std::uint64_t seed = world().draw.next();
  put(stream, [launch, seed, drop] {
    World& w = world();
    if (w.sticky == cudaSuccess) {
      w.report = run_grid(launch, seed, w.faults, w.seen);
      if (!w.report.empty()) w.sticky = cudaErrorLaunchFailure;
    }
    if (drop) launch.drop(launch.body);
  });
}

// What a library puts into a stream counts as a launch.
void put_call(EmulatedQueue& queue, void (*run)(void*), void (*drop)(void*), void* body) {
  const Lock lock(world().mutex);
  auto& stream = static_cast<EmulatedStream&>(queue);
  const std::shared_ptr<void> owned(body, drop);
  auto call = [run, owned] {
    if (world().sticky == cudaSuccess) run(owned.get());
  };
  if (stream.capture != nullptr) {
    stream.capture->nodes.push_back({.launch = {}, .call = std::move(call)});
    return;
  }
  ++world().counters.launches;
  ++world().counters.library_calls;
  put(&stream, std::move(call));
}

void run_queue(EmulatedQueue& queue) {
  const Lock lock(world().mutex);
  run_all(static_cast<EmulatedStream&>(queue));
}

// The host may not wait for what is only written down.
static cudaError_t waits_for(const EmulatedStream& stream) {
  ++world().counters.waits;
  return stream.capture != nullptr ? note(cudaErrorStreamCaptureUnsupported) : cudaSuccess;
}

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
void skip_stream_waits() {
  world().faults.no_stream_waits = true;
}
void lose_threads() {
  world().faults.lost_threads = true;
}
void shorten_grids() {
  world().faults.short_grids = true;
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
  if (EmulatedGraph* graph = stream_or_default(launch.config.stream).capture; graph != nullptr) {
    graph->nodes.push_back({.launch = launch});
    return cudaSuccess;
  }
  put_launch(launch.config.stream, launch, true);
  return cudaSuccess;
}

}  // namespace foregate::emu

using namespace foregate::emu;

EmulatedStream::EmulatedStream() {
  EmulatedQueue::put = &put_call;
  EmulatedQueue::run = &run_queue;
}

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
cudaError_t cudaDeviceGetPCIBusId(char* id, int bytes, int) {
  std::snprintf(id, static_cast<std::size_t>(bytes), "emulated:%d", static_cast<int>(getpid()));
  return planted("cudaDeviceGetPCIBusId");
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

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
  const Lock lock(world().mutex);
  if (const cudaError_t error = planted("memcpy"); error != cudaSuccess) return error;
  ++world().counters.copies;
  if (EmulatedGraph* graph = stream_or_default(stream).capture; graph != nullptr) {
    graph->nodes.push_back({.launch = {}, .to = to, .from = from, .bytes = bytes});
    return cudaSuccess;
  }
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
  if (const cudaError_t error = waits_for(stream_or_default(stream)); error != cudaSuccess) return error;
  run_all(stream_or_default(stream));
  return planted("synchronize");
}
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  return cudaStreamSynchronize(stream);
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
  if (event->stream != nullptr && !world().faults.no_stream_waits) put(stream, [at = *event] { run_until(at); });
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
    case cudaErrorNotReady: return "device not ready";
    case cudaErrorNoDevice: return "no CUDA-capable device is detected";
    case cudaErrorIllegalAddress: return "an illegal memory access was encountered";
    case cudaErrorLaunchFailure: return "unspecified launch failure";
    case cudaErrorStreamCaptureUnsupported: return "operation not permitted when stream is capturing";
  }
  return "unknown error";
}
