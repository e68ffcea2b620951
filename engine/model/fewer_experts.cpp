#include "engine/model/fewer_experts.h"

#include <string>
#include <utility>

namespace foregate {
namespace {

Status refused(const std::string& why) {
  return invalid_argument("--speculative-config: method self " + why, "speculative_config");
}

// The tables that say where weights are, without owning any.
std::unique_ptr<ModelWeights> borrowed(const ModelWeights& from, std::int32_t experts) {
  auto weights = std::make_unique<ModelWeights>();
  weights->embedding = from.embedding;
  weights->lm_head = from.lm_head;
  weights->final_norm = from.final_norm;
  weights->layers = from.layers;
  for (LayerWeights& layer : weights->layers) layer.router.rule.top_k = experts;
  weights->experts = from.experts;
  weights->device_experts = from.device_experts;
  weights->dense_step_bytes = from.dense_step_bytes;
  weights->expert_bytes = from.expert_bytes;
  return weights;
}

}  // namespace

Result<std::unique_ptr<Transformer>> with_fewer_experts(const Transformer& of, std::int32_t experts,
                                                        std::int32_t max_batched_tokens) {
  const std::int32_t top_k = of.config_.router.top_k;
  if (of.config_.router.experts == 0) return refused("needs a model with experts");
  if (experts < 1 || experts >= top_k) {
    return refused("needs num_experts from 1 to " + std::to_string(top_k - 1) + ", the model gives a row " +
                   std::to_string(top_k));
  }
  if (of.weights_->store || of.weights_->dense || of.exchange_) {
    return refused("needs all weights in memory, and no other ranks");
  }
  ModelConfig config = of.config_;
  config.router.top_k = experts;
  ASSIGN_OR_RETURN(StepScratch scratch, StepScratch::create(config, max_batched_tokens, *of.device_));
  auto made = std::make_unique<Transformer>(std::move(config), borrowed(*of.weights_, experts), std::move(scratch),
                                            max_batched_tokens, of.ops_, of.stream_);
  made->device_ = of.device_;
  made->collect_steps_ = of.collect_steps_;
  return made;
}

}  // namespace foregate
