// A model of a known shape with random weights, made in memory in the packed layout: speed without a file. Weights are
// finite and small, every expert has memory of its own, and a seed gives the same bytes on any number of threads.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "engine/base/status.h"
#include "engine/model/transformer.h"
#include "engine/runtime/boot.h"
#include "tools/bench/planted_routing.h"

namespace foregate {

struct ShapeOptions {
  std::string shape;                  // of all_shapes()
  std::string quantization = "none";  // as shape_format() takes it
  std::int32_t layers = 0;            // 0: the shape's own
  RoutingPlan routing = {};           // its seed is that of all weights
  std::string isa = "auto";
  int threads = 0;                            // 0: one per physical core this process may use
  std::int32_t max_num_batched_tokens = 512;  // rows of one step
  std::function<void(std::string_view stage, double fraction)> progress = {};  // on the calling thread; may be empty
};

// The weights of a model that open_shape() made; `threads` share the work. kResourceExhausted when the device has too
// little memory.
Result<std::unique_ptr<ModelWeights>> make_shape_weights(const OpenModel& model, const RoutingPlan& routing,
                                                         int threads, Device& device, const WeightProgress& progress);

// The same as a transformer on a backend; `ops` and `stream` must outlive the result.
Result<std::unique_ptr<Transformer>> make_shape_transformer(const OpenModel& model, const RoutingPlan& routing,
                                                            std::int32_t max_batched_tokens, int threads,
                                                            Device& device, const OpTable& ops, Stream& stream,
                                                            const WeightProgress& progress = {});

// Everything at once, as boot_model() gives it. kInvalidArgument names the option; kResourceExhausted, with the numbers
// and before anything is allocated, when memory is short.
Result<std::unique_ptr<BootedModel>> boot_shape(const ShapeOptions& options);

}  // namespace foregate
