#include "engine/model/nextn.h"

#include <string>
#include <utility>

#include "engine/model/step.h"

namespace foregate {
namespace {

Status check_nextn(const OpenModel& model, const ModelConfig& of) {
  const ModelConfig& config = model.config;
  const auto wrong = [](const std::string& why) {
    return invalid_argument("--speculative-config: method mtp " + why, "speculative_config");
  };
  if (config.nextn.empty()) {
    return wrong("needs a model with NextN layers; num_nextn_predict_layers of " + model.source.path +
                 " is 0 or missing");
  }
  if (model.index.packed() != nullptr) {
    return wrong("needs the original model: a packed one leaves NextN layers out; name its directory in \"model\"");
  }
  if (config.hidden_size != of.hidden_size || config.vocab_size != of.vocab_size ||
      config.layers.size() != of.layers.size()) {
    return wrong("needs a NextN layer of the model: hidden_size, vocab_size and num_hidden_layers must be the same");
  }
  if (config.arch->router_source == RouterSource::kFfnInput) return {};
  return unimplemented(
      "--speculative-config: method mtp is not for models whose routers read something else than the "
      "input of their experts",
      "speculative_config");
}

// The layer alone, as a model of its own.
ModelConfig config_of_layer(const ModelConfig& model) {
  ModelConfig config = model;
  config.first_layer = static_cast<std::int32_t>(model.layers.size());
  config.layers = {model.nextn.front()};
  config.nextn.clear();
  return config;
}

}  // namespace

void join_rows(const Step& step, const NextnWeights& weights, float* rows) {
  const std::int64_t cols = step.config.hidden_size;
  const auto half = [&](View2<const float> x, const float* weight, float* to) {
    step.ops.rms_norm(step.stream, RmsNormArgs{.x = x,
                                               .residual = {},
                                               .weight = weight,
                                               .eps = step.config.rms_norm_eps,
                                               .out = {to, step.rows, cols, 2 * cols}});
  };
  half(step.read(step.scratch.delta, cols), weights.token_norm, rows);
  half(step.read(step.input.hidden_in.data(), cols), weights.hidden_norm, rows + cols);
  step.ops.linear(step.stream, LinearArgs{.weight = weights.join,
                                          .bias = nullptr,
                                          .x = step.read(rows, 2 * cols),
                                          .y = step.view(step.scratch.hidden, cols)});
}

Result<std::unique_ptr<Transformer>> load_nextn(const OpenModel& model, const Transformer& of,
                                                const LoadOptions& options) {
  RETURN_IF_ERROR(check_nextn(model, of.config_));
  if (!of.device_->host_visible()) {
    return unimplemented("--speculative-config: method mtp is for models on the host", "speculative_config");
  }
  const ModelConfig config = config_of_layer(model.config);
  ASSIGN_OR_RETURN(auto weights, load_weights(config, model.index, *of.device_, of.ops_, of.stream_, options.weights,
                                              options.progress, options.verify_weights));
  if (weights->embedding.data == nullptr) weights->embedding = of.weights_->embedding;
  if (weights->lm_head.data == nullptr) weights->lm_head = of.weights_->lm_head;
  ASSIGN_OR_RETURN(StepScratch scratch, StepScratch::create(config, options.max_batched_tokens, *of.device_));
  const std::size_t bytes = 2 * sizeof(float) * static_cast<std::size_t>(options.max_batched_tokens) *
                            static_cast<std::size_t>(config.hidden_size);
  Memory rows = of.device_->allocate(bytes);
  if (!rows) return resource_exhausted("no memory for " + std::to_string(bytes) + " bytes of rows of a NextN layer");
  auto made = std::make_unique<Transformer>(config, std::move(weights), std::move(scratch), options.max_batched_tokens,
                                            of.ops_, of.stream_);
  made->device_ = of.device_;
  made->nextn_rows_ = std::move(rows);
  return made;
}

}  // namespace foregate
