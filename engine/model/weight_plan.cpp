#include "engine/model/weight_plan.h"

#include "engine/weights/checked_json.h"

namespace foregate {
namespace {

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

WeightFormat same_format(DType type) {
  return type == DType::kF32 ? WeightFormat::kF32 : type == DType::kF16 ? WeightFormat::kF16 : WeightFormat::kBF16;
}

// Collects items; keeps the first fault, after which nothing is added.
class Planner {
 public:
  Planner(const ModelConfig& config, const TensorIndex& index, ModelWeights& weights)
      : config_(config), index_(index), weights_(weights) {}

  Status run();
  std::vector<WeightItem> take() { return std::move(items_); }

 private:
  const TensorEntry* tensor(const std::string& name, const std::vector<std::int64_t>& shape);
  void matrix(const std::string& name, std::int64_t rows, std::int64_t cols, WeightGroup group, PackedWeight& out);
  void vector(const std::string& name, std::int64_t size, WeightGroup group, const float*& out);
  void linear(const std::string& stem, std::int64_t rows, std::int64_t cols, bool bias, LinearWeights& out);
  void ffn(const std::string& stem, std::int64_t width, WeightGroup group, ExpertWeights& out);
  void attention(const std::string& stem, AttentionWeights& out);
  void moe(const LayerConfig& layer, LayerWeights& out);
  void experts(const MoeNames& names, std::int64_t width);
  void fused_experts(const MoeNames& names, std::int64_t width);
  void layer(std::int32_t number);

  const ModelConfig& config_;
  const TensorIndex& index_;
  ModelWeights& weights_;
  std::vector<WeightItem> items_;
  std::int32_t layer_ = -1;
  std::string stem_;  // "model.layers.N."
  Status status_;
};

const TensorEntry* Planner::tensor(const std::string& name, const std::vector<std::int64_t>& shape) {
  if (!status_.ok()) return nullptr;
  const TensorEntry* entry = index_.find(name);
  if (entry == nullptr) {
    status_ = data_loss("tensor \"" + name + "\" is missing from the weights", name);
  } else if (entry->shape != shape) {
    status_ = data_loss(index_.path_of(*entry) + ": tensor \"" + name + "\" has shape " + shape_text(entry->shape) +
                            ", the config implies " + shape_text(shape),
                        name);
  } else if (entry->dtype != DType::kF32 && entry->dtype != DType::kF16 && entry->dtype != DType::kBF16) {
    status_ = unimplemented(index_.path_of(*entry) + ": tensor \"" + name + "\" has type " +
                                printable(entry->dtype_name) + "; known: F32, F16, BF16",
                            name);
  }
  return status_.ok() ? entry : nullptr;
}

void Planner::matrix(const std::string& name, std::int64_t rows, std::int64_t cols, WeightGroup group,
                     PackedWeight& out) {
  const TensorEntry* entry = tensor(name, {rows, cols});
  if (entry == nullptr) return;
  // Router logits are always computed from f32 weights; widening is exact.
  const WeightFormat format = group == WeightGroup::kRouter ? WeightFormat::kF32 : same_format(*entry->dtype);
  items_.push_back({entry, 0, rows, cols, format, group, layer_, &out, nullptr});
}

void Planner::vector(const std::string& name, std::int64_t size, WeightGroup group, const float*& out) {
  const TensorEntry* entry = tensor(name, {size});
  if (entry == nullptr) return;
  items_.push_back({entry, 0, size, 1, WeightFormat::kF32, group, layer_, nullptr, &out});
}

void Planner::linear(const std::string& stem, std::int64_t rows, std::int64_t cols, bool bias, LinearWeights& out) {
  matrix(stem + ".weight", rows, cols, WeightGroup::kAttention, out.weight);
  if (bias) vector(stem + ".bias", rows, WeightGroup::kAttention, out.bias);
}

void Planner::ffn(const std::string& stem, std::int64_t width, WeightGroup group, ExpertWeights& out) {
  matrix(stem + "gate_proj.weight", width, config_.hidden_size, group, out.gate);
  matrix(stem + "up_proj.weight", width, config_.hidden_size, group, out.up);
  matrix(stem + "down_proj.weight", config_.hidden_size, width, group, out.down);
}

void Planner::attention(const std::string& stem, AttentionWeights& out) {
  const std::int64_t hidden = config_.hidden_size;
  linear(stem + "q_proj", config_.q_width(), hidden, config_.qkv_bias, out.q);
  linear(stem + "k_proj", config_.kv_width(), hidden, config_.qkv_bias, out.k);
  linear(stem + "v_proj", config_.kv_width(), hidden, config_.qkv_bias, out.v);
  linear(stem + "o_proj", hidden, config_.q_width(), config_.output_bias, out.o);
  if (config_.arch->qk_norm == QkNorm::kNone) return;
  const bool full = config_.arch->qk_norm == QkNorm::kFullWidth;
  vector(stem + "q_norm.weight", full ? config_.q_width() : config_.head_dim, WeightGroup::kNorm, out.q_norm);
  vector(stem + "k_norm.weight", full ? config_.kv_width() : config_.head_dim, WeightGroup::kNorm, out.k_norm);
}

std::string expert_name(const std::string& stem, const char* pattern, std::int32_t expert) {
  std::string name = stem + pattern;
  return name.replace(name.find("{}"), 2, std::to_string(expert));
}

void Planner::experts(const MoeNames& names, std::int64_t width) {
  const std::int64_t hidden = config_.hidden_size;
  for (std::int32_t e = 0; e < config_.router.experts && status_.ok(); ++e) {
    ExpertWeights& out = weights_.experts.slot({LayerId{layer_}, ExpertId{e}});
    matrix(expert_name(stem_, names.gate, e), width, hidden, WeightGroup::kExperts, out.gate);
    matrix(expert_name(stem_, names.up, e), width, hidden, WeightGroup::kExperts, out.up);
    matrix(expert_name(stem_, names.down, e), hidden, width, WeightGroup::kExperts, out.down);
  }
}

// All experts of a layer in two tensors; each expert's parts are contiguous rows of them.
void Planner::fused_experts(const MoeNames& names, std::int64_t width) {
  const std::int64_t hidden = config_.hidden_size;
  const std::int64_t count = config_.router.experts;
  const TensorEntry* gate_up = tensor(stem_ + names.fused_gate_up, {count, 2 * width, hidden});
  const TensorEntry* down = tensor(stem_ + names.fused_down, {count, hidden, width});
  if (!status_.ok()) return;
  const auto add = [&](const TensorEntry* entry, std::int64_t part, std::int64_t rows, std::int64_t cols,
                       PackedWeight& out) {
    const std::int64_t part_bytes = rows * cols * dtype_bytes(*entry->dtype);
    items_.push_back({entry, static_cast<std::uint64_t>(part * part_bytes), rows, cols, same_format(*entry->dtype),
                      WeightGroup::kExperts, layer_, &out, nullptr});
  };
  for (std::int32_t e = 0; e < count; ++e) {
    ExpertWeights& out = weights_.experts.slot({LayerId{layer_}, ExpertId{e}});
    add(gate_up, 2 * e, width, hidden, out.gate);
    add(gate_up, 2 * e + 1, width, hidden, out.up);
    add(down, e, hidden, width, out.down);
  }
}

void Planner::moe(const LayerConfig& layer, LayerWeights& out) {
  const MoeNames* names = &config_.arch->moe[0];
  const MoeNames& other = config_.arch->moe[1];
  if (other.router != nullptr && index_.find(stem_ + names->router) == nullptr &&
      index_.find(stem_ + other.router) != nullptr) {
    names = &other;
  }
  out.router.rule = config_.router;
  matrix(stem_ + names->router, config_.router.experts, config_.hidden_size, WeightGroup::kRouter, out.router.gate);
  if (!status_.ok()) return;
  weights_.experts.add_layer(config_.router.experts);
  const bool fused = names->fused_gate_up != nullptr && index_.find(stem_ + names->fused_gate_up) != nullptr;
  fused ? fused_experts(*names, layer.ffn_intermediate) : experts(*names, layer.ffn_intermediate);
  if (config_.shared_intermediate == 0) return;
  ffn(stem_ + "mlp.shared_expert.", config_.shared_intermediate, WeightGroup::kSharedExpert, out.shared);
  matrix(stem_ + "mlp.shared_expert_gate.weight", 1, config_.hidden_size, WeightGroup::kSharedExpert, out.shared_gate);
}

void Planner::layer(std::int32_t number) {
  layer_ = number;
  stem_ = "model.layers." + std::to_string(number) + ".";
  LayerWeights& out = weights_.layers[static_cast<std::size_t>(number)];
  const LayerConfig& layer = config_.layers[static_cast<std::size_t>(number)];
  vector(stem_ + "input_layernorm.weight", config_.hidden_size, WeightGroup::kNorm, out.attention_norm);
  attention(stem_ + "self_attn.", out.attention);
  vector(stem_ + "post_attention_layernorm.weight", config_.hidden_size, WeightGroup::kNorm, out.ffn_norm);
  if (layer.sparse) {
    moe(layer, out);
  } else {
    weights_.experts.add_layer(0);
    ffn(stem_ + "mlp.", layer.ffn_intermediate, WeightGroup::kDenseFfn, out.dense);
  }
}

Status Planner::run() {
  weights_.layers.resize(config_.layers.size());
  matrix("model.embed_tokens.weight", config_.vocab_size, config_.hidden_size, WeightGroup::kEmbedding,
         weights_.embedding);
  for (std::size_t i = 0; i < config_.layers.size() && status_.ok(); ++i) layer(static_cast<std::int32_t>(i));
  layer_ = -1;
  vector("model.norm.weight", config_.hidden_size, WeightGroup::kNorm, weights_.final_norm);
  if (!config_.tied_embeddings) {
    matrix("lm_head.weight", config_.vocab_size, config_.hidden_size, WeightGroup::kLmHead, weights_.lm_head);
  }
  return status_;
}

}  // namespace

const char* weight_group_name(WeightGroup group) {
  switch (group) {
    case WeightGroup::kEmbedding: return "embedding";
    case WeightGroup::kAttention: return "attention";
    case WeightGroup::kRouter: return "router";
    case WeightGroup::kExperts: return "experts";
    case WeightGroup::kSharedExpert: return "shared expert";
    case WeightGroup::kDenseFfn: return "dense ffn";
    case WeightGroup::kNorm: return "norms";
    case WeightGroup::kLmHead: return "lm head";
  }
  return "?";
}

Result<std::vector<WeightItem>> plan_weights(const ModelConfig& config, const TensorIndex& index,
                                             ModelWeights& weights) {
  Planner planner(config, index, weights);
  RETURN_IF_ERROR(planner.run());
  return planner.take();
}

}  // namespace foregate
