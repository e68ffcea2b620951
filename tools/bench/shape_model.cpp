#include "tools/bench/shape_model.h"

#include <utility>
#include <vector>

#include "engine/base/clock.h"
#include "engine/model/summary.h"
#include "engine/model/weight_plan.h"
#include "engine/runtime/memory_budget.h"
#include "kernels/registry/registry.h"
#include "tools/bench/shape_weights.h"
#include "tools/bench/shapes.h"

namespace foregate {
namespace {

constexpr std::int64_t kAlignment = 64;

std::int64_t aligned_bytes(const WeightItem& item) {
  return (packed_bytes(item.format, item.rows, item.cols) + kAlignment - 1) / kAlignment * kAlignment;
}

// One allocation for items [first, last), which are of one layer.
Result<std::vector<WeightPlace>> place_items(const std::vector<WeightItem>& items, std::size_t first, std::size_t last,
                                             Device& device, ModelWeights& weights) {
  std::int64_t bytes = 0;
  for (std::size_t i = first; i < last; ++i) bytes += aligned_bytes(items[i]);
  Memory memory = device.allocate(static_cast<std::size_t>(bytes));
  if (!memory) return resource_exhausted("no memory for " + std::to_string(bytes) + " bytes of weights");
  std::byte* at = memory.data();
  weights.memory.push_back(std::move(memory));
  std::vector<WeightPlace> places;
  for (std::size_t i = first; i < last; ++i) {
    const WeightItem& item = items[i];
    if (item.matrix != nullptr) *item.matrix = PackedWeight{at, item.format, item.rows, item.cols};
    if (item.vector != nullptr) *item.vector = reinterpret_cast<const float*>(at);
    places.push_back({i, at});
    at += aligned_bytes(item);
  }
  return places;
}

Status make_items(const std::vector<WeightItem>& items, ShapeWeights& shape, int threads, Device& device,
                  ModelWeights& weights, const WeightProgress& progress) {
  std::uint64_t total = 0;
  for (const WeightItem& item : items) total += static_cast<std::uint64_t>(aligned_bytes(item));
  std::uint64_t done = 0;
  for (std::size_t first = 0, last = 0; first < items.size(); first = last) {
    while (last < items.size() && items[last].layer == items[first].layer) {
      done += static_cast<std::uint64_t>(aligned_bytes(items[last++]));
    }
    ASSIGN_OR_RETURN(const auto places, place_items(items, first, last, device, weights));
    shape.fill(places, threads);
    if (progress) progress(done, total);
  }
  weights.how_loaded = "random weights of a shape";
  return {};
}

class ShapeModel final : public BootedModel {
 public:
  Model& model() override { return *transformer; }
  Device& device() override { return *backend.device; }
  const ModelInfo& info() const override { return model_info; }
  const BootReport& report() const override { return boot_report; }

  // In the order in which they depend on one another: the last goes first.
  Backend backend;
  std::unique_ptr<Stream> stream;
  std::unique_ptr<Transformer> transformer;
  ModelInfo model_info;
  BootReport boot_report;
};

Status check_memory(const ModelSummary& summary) {
  const std::int64_t available = available_memory();
  if (available <= 0 || summary.total.packed_bytes <= available) return {};
  return resource_exhausted("the weights need " + std::to_string(summary.total.packed_bytes) + " bytes, " +
                            std::to_string(available) + " are available; --layers takes fewer");
}

void describe(const OpenModel& opened, const ModelSummary& summary, double seconds, ShapeModel& model) {
  model.model_info.architecture = summary.config.arch->class_name;
  model.model_info.parameters = summary.total.parameters;
  model.model_info.active_parameters = summary.total.active;
  model.model_info.vocab_size = summary.config.vocab_size;
  model.model_info.max_model_len = summary.config.max_positions;
  model.model_info.device = model.backend.device->describe();
  model.boot_report.model_name = opened.source.path;
  model.boot_report.isa = model.backend.isa;
  model.boot_report.threads = model.backend.threads;
  model.boot_report.device = model.model_info.device;
  model.boot_report.kv_type = summary.kv_type;
  model.boot_report.backend_reason = model.backend.reason;
  model.boot_report.fallbacks = model.backend.fallbacks;
  model.boot_report.load_seconds = seconds;
  model.boot_report.weights = model.transformer->weights().how_loaded;
}

}  // namespace

Result<std::unique_ptr<ModelWeights>> make_shape_weights(const OpenModel& model, const RoutingPlan& routing,
                                                         int threads, Device& device, const WeightProgress& progress) {
  auto weights = std::make_unique<ModelWeights>();
  ASSIGN_OR_RETURN(const auto items, plan_weights(model.config, model.index, {}, *weights));
  ASSIGN_OR_RETURN(ShapeWeights shape, ShapeWeights::create(model.config, items, routing));
  RETURN_IF_ERROR(make_items(items, shape, threads, device, *weights, progress));
  count_step_bytes(model.config, items, *weights);
  return weights;
}

Result<std::unique_ptr<Transformer>> make_shape_transformer(const OpenModel& model, const RoutingPlan& routing,
                                                            std::int32_t max_batched_tokens, int threads,
                                                            Device& device, const OpTable& ops, Stream& stream,
                                                            const WeightProgress& progress) {
  ASSIGN_OR_RETURN(auto weights, make_shape_weights(model, routing, threads, device, progress));
  ASSIGN_OR_RETURN(StepScratch scratch, StepScratch::create(model.config, max_batched_tokens, device));
  return std::make_unique<Transformer>(model.config, std::move(weights), std::move(scratch), max_batched_tokens, ops,
                                       stream);
}

Result<std::unique_ptr<BootedModel>> boot_shape(const ShapeOptions& options) {
  const TimeNs start = system_clock().now();
  RETURN_IF_ERROR(check_routing(options.routing));
  ASSIGN_OR_RETURN(const OpenModel opened,
                   open_shape(options.shape, options.layers, options.quantization, options.routing.skew != 0.0));
  ASSIGN_OR_RETURN(const ModelSummary summary, summarize(opened, {}));
  RETURN_IF_ERROR(check_memory(summary));
  auto model = std::make_unique<ShapeModel>();
  std::string error;
  model->backend = make_backend({.isa = options.isa, .threads = options.threads}, &error);
  if (model->backend.device == nullptr) return invalid_argument(error, "isa");
  model->stream = model->backend.device->create_stream();
  const WeightProgress progress = [&options](std::uint64_t done, std::uint64_t total) {
    if (options.progress) options.progress("weights", static_cast<double>(done) / static_cast<double>(total));
  };
  ASSIGN_OR_RETURN(model->transformer, make_shape_transformer(opened, options.routing, options.max_num_batched_tokens,
                                                              model->backend.threads, *model->backend.device,
                                                              model->backend.ops, *model->stream, progress));
  describe(opened, summary, seconds_between(start, system_clock().now()), *model);
  return std::unique_ptr<BootedModel>(std::move(model));
}

}  // namespace foregate
