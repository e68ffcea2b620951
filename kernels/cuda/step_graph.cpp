#include "kernels/cuda/step_graph.h"

#include <algorithm>

namespace foregate {

StepGraphs::~StepGraphs() {
  for (const Known& known : known_) {
    if (known.graph != nullptr) cudaGraphExecDestroy(known.graph);
  }
}

std::uint64_t StepGraphs::Step::hash() const {
  std::uint64_t h = 0xcbf29ce484222325u;
  const auto add = [&h](const void* data, std::size_t bytes) {
    for (std::size_t i = 0; i + 8 <= bytes; i += 8) {
      std::uint64_t word;
      std::memcpy(&word, static_cast<const std::byte*>(data) + i, 8);
      h = (h ^ word) * 0x9e3779b97f4a7c15u;
      h ^= h >> 29;
    }
  };
  add(calls.data(), calls.size() * sizeof(Call));
  add(params.data(), params.size());
  return h;
}

bool StepGraphs::Step::operator==(const Step& other) const {
  return calls.size() == other.calls.size() && params.size() == other.params.size() &&
         std::memcmp(calls.data(), other.calls.data(), calls.size() * sizeof(Call)) == 0 &&
         std::memcmp(params.data(), other.params.data(), params.size()) == 0;
}

cudaError_t StepGraphs::launch_each(const Step& step, cudaStream_t stream) {
  for (const Call& call : step.calls) {
    if (const cudaError_t error = call.launch(call, step.params.data(), stream); error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

cudaError_t StepGraphs::capture(const Step& step, cudaStream_t stream, cudaGraphExec_t* graph) {
  cudaError_t error = cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
  if (error != cudaSuccess) return error;
  const cudaError_t launched = launch_each(step, stream);
  cudaGraph_t captured = nullptr;
  error = cudaStreamEndCapture(stream, &captured);
  if (error == cudaSuccess) error = launched;
  if (error == cudaSuccess) error = cudaGraphInstantiate(graph, captured, 0);
  if (captured != nullptr) cudaGraphDestroy(captured);
  return error;
}

// The one of this step, or a new one in the place of the one that was used longest ago.
StepGraphs::Known& StepGraphs::find_or_add(std::uint64_t hash, cudaStream_t stream) {
  for (Known& known : known_) {
    if (known.hash == hash && known.step == now_) return known;
  }
  if (known_.size() == kMostKnown) {
    const auto oldest =
        std::min_element(known_.begin(), known_.end(), [](const Known& a, const Known& b) { return a.used < b.used; });
    if (oldest->graph != nullptr) {
      cudaStreamSynchronize(stream);  // it may run
      cudaGraphExecDestroy(oldest->graph);
    }
    known_.erase(oldest);
  }
  known_.push_back({.hash = hash, .step = now_});
  return known_.back();
}

cudaError_t StepGraphs::run(cudaStream_t stream) {
  Known& known = find_or_add(now_.hash(), stream);
  const bool first = known.used == 0;
  known.used = ++runs_;
  cudaError_t error = cudaSuccess;
  if (first) {
    error = launch_each(now_, stream);
  } else {
    if (known.graph == nullptr) error = capture(now_, stream, &known.graph);
    if (error == cudaSuccess) error = cudaGraphLaunch(known.graph, stream);
    ++graph_launches_;
  }
  now_.calls.clear();
  now_.params.clear();
  return error;
}

}  // namespace foregate
