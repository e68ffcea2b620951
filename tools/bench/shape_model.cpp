#include "tools/bench/shape_model.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <thread>
#include <utility>
#include <vector>

#include "engine/base/clock.h"
#include "engine/model/summary.h"
#include "engine/model/weight_plan.h"
#include "engine/runtime/memory_budget.h"
#include "kernels/registry/registry.h"
#include "tools/bench/random_weights.h"
#include "tools/bench/shapes.h"

namespace foregate {
namespace {

// As tests/bench/make_shape_gguf.py has them: logits stay finite and routing is uniform unless planted otherwise.
constexpr float kEmbeddingDeviation = 0.5f;
constexpr float kMatrixDeviation = 0.02f;
constexpr std::int64_t kAlignment = 64;

std::int64_t aligned_bytes(const WeightItem& item) {
  return (packed_bytes(item.format, item.rows, item.cols) + kAlignment - 1) / kAlignment * kAlignment;
}

class Maker {
 public:
  Maker(const ModelConfig& config, const RoutingPlan& routing, int threads, const WeightProgress& progress)
      : config_(config),
        routing_(routing),
        threads_(threads),
        progress_(progress),
        router_rows_(config.router.experts, config.hidden_size, kMatrixDeviation, routing) {}

  Status make(const std::vector<WeightItem>& items, Device& device, ModelWeights& weights);

 private:
  struct Place {
    const WeightItem* item;
    std::uint64_t number;  // in the plan: the stream of its random numbers
    std::byte* packed;
  };

  Result<std::vector<Place>> place(const std::vector<WeightItem>& items, std::size_t first, std::size_t last,
                                   Device& device, ModelWeights& weights);
  void fill_all(const std::vector<Place>& places) const;
  void fill(const Place& place) const;
  float deviation(const WeightItem& item) const;
  Status plant(std::int32_t layer, Device& device, ModelWeights& weights);

  const ModelConfig& config_;
  const RoutingPlan& routing_;
  int threads_;
  const WeightProgress& progress_;
  RouterRows router_rows_;
};

// Matrices that write to the residual stream are smaller, so that depth does not make it grow.
float Maker::deviation(const WeightItem& item) const {
  if (item.group == WeightGroup::kEmbedding) return kEmbeddingDeviation;
  const bool writes = item.rows == config_.hidden_size && (item.name.find("attn_output") != std::string::npos ||
                                                           item.name.find("ffn_down") != std::string::npos);
  return writes ? kMatrixDeviation / std::sqrt(2.0f * static_cast<float>(config_.layers.size())) : kMatrixDeviation;
}

void Maker::fill(const Place& place) const {
  const WeightItem& item = *place.item;
  if (item.vector != nullptr) {
    auto* values = reinterpret_cast<float*>(place.packed);
    std::fill_n(values, item.rows, item.group == WeightGroup::kNorm ? 1.0f : 0.0f);
    return;
  }
  fill_random(item.format, item.rows, item.cols, deviation(item), stream_seed(routing_.seed, place.number),
              place.packed);
}

void Maker::fill_all(const std::vector<Place>& places) const {
  std::atomic<std::size_t> next{0};
  const auto work = [&] {
    for (std::size_t i = next++; i < places.size(); i = next++) fill(places[i]);
  };
  std::vector<std::jthread> helpers;
  for (int t = 1; t < threads_; ++t) helpers.emplace_back(work);
  work();
}

// One allocation for items [first, last), which are of one layer. Routers are left out: plant() makes them.
Result<std::vector<Maker::Place>> Maker::place(const std::vector<WeightItem>& items, std::size_t first,
                                               std::size_t last, Device& device, ModelWeights& weights) {
  std::int64_t bytes = 0;
  for (std::size_t i = first; i < last; ++i) bytes += aligned_bytes(items[i]);
  Memory memory = device.allocate(static_cast<std::size_t>(bytes));
  if (!memory) return resource_exhausted("no memory for " + std::to_string(bytes) + " bytes of weights");
  std::byte* at = memory.data();
  weights.memory.push_back(std::move(memory));
  std::vector<Place> places;
  for (std::size_t i = first; i < last; ++i) {
    const WeightItem& item = items[i];
    if (item.matrix != nullptr) *item.matrix = PackedWeight{at, item.format, item.rows, item.cols};
    if (item.vector != nullptr) *item.vector = reinterpret_cast<const float*>(at);
    if (item.group == WeightGroup::kRouter) {
      pack_f32(router_rows_.next(), item.rows, item.cols, at);
    } else {
      places.push_back({&item, i, at});
    }
    at += aligned_bytes(item);
  }
  return places;
}

// The biases of a layer's router, where routing is to be skewed. The input of a router is normalized: its logits have
// the deviation of a router row's length.
Status Maker::plant(std::int32_t layer, Device& device, ModelWeights& weights) {
  if (routing_.skew == 0.0) return {};
  const std::int32_t experts = config_.router.experts;
  Memory memory = device.allocate(static_cast<std::size_t>(experts) * sizeof(float));
  if (!memory) return resource_exhausted("no memory for the biases of a router");
  auto* biases = reinterpret_cast<float*>(memory.data());
  weights.memory.push_back(std::move(memory));
  const double sigma = kMatrixDeviation * std::sqrt(static_cast<double>(config_.hidden_size));
  const std::vector<float> by_rank = planted_biases(experts, config_.router.top_k, routing_.skew, sigma);
  const std::vector<std::int32_t> order = expert_of_rank(experts, layer, routing_.seed);
  for (std::size_t r = 0; r < order.size(); ++r) biases[order[r]] = by_rank[r];
  weights.layers[static_cast<std::size_t>(layer)].router.logit_bias = biases;
  return {};
}

Status Maker::make(const std::vector<WeightItem>& items, Device& device, ModelWeights& weights) {
  std::uint64_t total = 0;
  for (const WeightItem& item : items) total += static_cast<std::uint64_t>(aligned_bytes(item));
  std::uint64_t done = 0;
  for (std::size_t first = 0, last = 0; first < items.size(); first = last) {
    while (last < items.size() && items[last].layer == items[first].layer) {
      done += static_cast<std::uint64_t>(aligned_bytes(items[last++]));
    }
    ASSIGN_OR_RETURN(const auto places, place(items, first, last, device, weights));
    fill_all(places);
    if (items[first].layer >= 0) RETURN_IF_ERROR(plant(items[first].layer, device, weights));
    if (progress_) progress_(done, total);
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

std::string known_shapes() {
  std::string names;
  for (const ModelShape& shape : all_shapes()) names += std::string(names.empty() ? "" : ", ") + shape.name;
  return names;
}

}  // namespace

Result<std::unique_ptr<ModelWeights>> make_shape_weights(const OpenModel& model, const RoutingPlan& routing,
                                                         int threads, Device& device, const WeightProgress& progress) {
  RETURN_IF_ERROR(check_routing(routing));
  auto weights = std::make_unique<ModelWeights>();
  ASSIGN_OR_RETURN(const auto items, plan_weights(model.config, model.index, {}, *weights));
  Maker maker(model.config, routing, threads, progress);
  RETURN_IF_ERROR(maker.make(items, device, *weights));
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
  const ModelShape* shape = find_shape(options.shape);
  if (shape == nullptr) {
    return invalid_argument("there is no shape " + options.shape + "; known: " + known_shapes(), "shape");
  }
  const TimeNs start = system_clock().now();
  RETURN_IF_ERROR(check_routing(options.routing));
  ASSIGN_OR_RETURN(const ShapeFormat format, shape_format(options.quantization));
  ASSIGN_OR_RETURN(const OpenModel opened, open_shape(*shape, options.layers, format));
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
