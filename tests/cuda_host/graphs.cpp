// The emulated runtime API: work that is written down while a stream is captured, and run as often as asked.
#include <cstring>
#include <utility>

#include "tests/cuda_host/world.h"

using namespace foregate::emu;

namespace {

void let_go(EmulatedGraph* graph) {
  if (--graph->owners > 0) return;
  for (const EmulatedGraph::Node& node : graph->nodes) {
    if (node.launch.body != nullptr) node.launch.drop(node.launch.body);
  }
  delete graph;
}

}  // namespace

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  const Lock lock(world().mutex);
  if (stream == nullptr || stream->capture != nullptr) return note(cudaErrorStreamCaptureUnsupported);
  if (const cudaError_t error = planted("capture"); error != cudaSuccess) return error;
  stream->capture = new EmulatedGraph;
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const Lock lock(world().mutex);
  *graph = std::exchange(stream->capture, nullptr);
  return *graph == nullptr ? note(cudaErrorStreamCaptureUnsupported) : cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  const Lock lock(world().mutex);
  ++graph->owners;
  *exec = graph;
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  const Lock lock(world().mutex);
  if (const cudaError_t error = planted("launch"); error != cudaSuccess) return error;
  ++world().counters.graph_launches;
  for (const EmulatedGraph::Node& node : exec->nodes) {
    if (node.launch.body != nullptr) {
      put_launch(stream, node.launch, false);
    } else if (node.call) {
      ++world().counters.library_calls;
      put(stream, node.call);
    } else {
      put(stream, [node] { std::memcpy(node.to, node.from, node.bytes); });
    }
  }
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  const Lock lock(world().mutex);
  let_go(graph);
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  const Lock lock(world().mutex);
  run_every_stream();  // what it was given to may not have run yet
  let_go(exec);
  return cudaSuccess;
}
