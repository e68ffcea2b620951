#include "engine/model/weight_plan.h"

#include <algorithm>
#include <span>

#include "engine/weights/checked_json.h"

namespace foregate {
namespace {

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

// Types that a matrix may have: scalars that the packer widens, and blocks that fill its rows.
bool is_weight_type(DType type) {
  return type == DType::kF32 || type == DType::kF16 || type == DType::kBF16 || has_blocks(dtype_format(type));
}

std::string known_types() {
  std::string text = "; known:";
  for (int f = 0; f < kWeightFormats; ++f) text += std::string(" ") + format_name(static_cast<WeightFormat>(f));
  return text;
}

// Collects items; keeps the first fault, after which nothing is added.
class Planner {
 public:
  Planner(const ModelConfig& config, const TensorIndex& index, const WeightPlanOptions& options, ModelWeights& weights)
      : config_(config), names_(*config.names), index_(index), options_(options), weights_(weights) {}

  Status run();
  std::vector<WeightItem> take() { return std::move(items_); }

 private:
  const TensorEntry* tensor(const std::string& name, const std::vector<std::int64_t>& shape);
  void matrix(const std::string& name, std::int64_t rows, std::int64_t cols, WeightGroup group, PackedWeight& out);
  Result<std::optional<StoredMatrix>> stored_matrix(const std::string& module, std::int64_t rows,
                                                    std::int64_t cols) const;
  void part(const std::string& name, const TensorEntry* entry, std::int64_t first_row, std::int64_t rows,
            std::int64_t cols, WeightGroup group, PackedWeight& out);
  void settle_ffn();
  void vector(const std::string& name, std::int64_t size, WeightGroup group, const float*& out);
  void linear(const std::string& stem, std::int64_t rows, std::int64_t cols, bool bias, LinearWeights& out);
  void roped(const char* name, std::int64_t rows, LinearWeights& out);
  void ffn(const FfnNames& names, std::int64_t width, WeightGroup group, ExpertWeights& out);
  void attention(AttentionWeights& out);
  const MoeNames& moe_names() const;
  void shared_router(PackedWeight& out);
  void moe(const LayerConfig& layer, LayerWeights& out);
  void experts(const MoeNames& names, std::int64_t width);
  void fused_experts(const MoeNames& names, std::int64_t width);
  void stacked_experts(const MoeNames& names, std::int64_t width);
  void layer(std::int32_t number);
  void nextn();

  const ModelConfig& config_;
  const WeightNames& names_;
  const TensorIndex& index_;
  const WeightPlanOptions& options_;
  ModelWeights& weights_;
  std::vector<WeightItem> items_;
  std::int32_t layer_ = -1;
  std::int32_t expert_ = -1;
  std::string stem_;  // of the layer's names
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
  } else if (!entry->dtype || !is_weight_type(*entry->dtype)) {
    status_ = unimplemented(
        index_.path_of(*entry) + ": tensor \"" + name + "\" has type " + printable(entry->dtype_name) + known_types(),
        name);
  } else if (shape.back() % dtype_block(*entry->dtype).elements != 0) {
    status_ = data_loss(index_.path_of(*entry) + ": tensor \"" + name + "\" of type " + dtype_name(*entry->dtype) +
                            " has rows of " + std::to_string(shape.back()) + " elements, which do not fill its blocks",
                        name);
  }
  return status_.ok() ? entry : nullptr;
}

void Planner::matrix(const std::string& name, std::int64_t rows, std::int64_t cols, WeightGroup group,
                     PackedWeight& out) {
  const std::string module = name.substr(0, name.rfind('.'));
  auto stored = stored_matrix(module, rows, cols);
  if (!stored.ok() && status_.ok()) status_ = stored.status();
  if (!status_.ok()) return;
  if (*stored) {
    const WeightFormat format = choose_format(group, (*stored)->type, rows, cols, options_);
    items_.push_back({.name = name,
                      .entry = (*stored)->codes,
                      .rows = rows,
                      .cols = cols,
                      .format = format,
                      .group = group,
                      .layer = layer_,
                      .expert = expert_,
                      .matrix = &out,
                      .stored = *stored});
  } else if (const TensorEntry* entry = tensor(name, {rows, cols})) {
    part(name, entry, 0, rows, cols, group, out);
  }
}

// The tensors of a module that the checkpoint keeps quantized; nothing for one with a plain tensor.
Result<std::optional<StoredMatrix>> Planner::stored_matrix(const std::string& module, std::int64_t rows,
                                                           std::int64_t cols) const {
  if (!config_.quantization.rule || index_.packed() != nullptr) return std::optional<StoredMatrix>();
  ASSIGN_OR_RETURN(const bool skipped, config_.quantization.skipped.match(module));
  if (skipped) return std::optional<StoredMatrix>();
  return find_stored_matrix(index_, *config_.quantization.rule, module, rows, cols);
}

// Rows of `cols` from row `first_row` of a tensor on.
void Planner::part(const std::string& name, const TensorEntry* entry, std::int64_t first_row, std::int64_t rows,
                   std::int64_t cols, WeightGroup group, PackedWeight& out) {
  const WeightFormat stored = dtype_format(*entry->dtype);
  const bool packed = entry->unit >= 0;
  if (packed && group == WeightGroup::kRouter && stored != WeightFormat::kF32) {
    status_ = data_loss(
        index_.path_of(*entry) + ": router \"" + name + "\" is packed as " + format_name(stored) + ", not as f32",
        name);
    return;
  }
  const std::int64_t begin = first_row * dtype_row_bytes(*entry->dtype, cols);
  items_.push_back({.name = name,
                    .entry = entry,
                    .begin = static_cast<std::uint64_t>(begin),
                    .rows = rows,
                    .cols = cols,
                    .format = packed ? stored : choose_format(group, *entry->dtype, rows, cols, options_),
                    .group = group,
                    .layer = layer_,
                    .expert = expert_,
                    .matrix = &out});
}

// The last three items are one FFN: where only some of them can be quantized, none is.
void Planner::settle_ffn() {
  if (!status_.ok()) return;
  const std::span<WeightItem> parts = std::span(items_).last(3);
  const auto quantized = [](const WeightItem& item) { return is_quantized(item.format); };
  if (std::all_of(parts.begin(), parts.end(), quantized) || std::none_of(parts.begin(), parts.end(), quantized)) return;
  if (parts[0].entry->unit >= 0) {
    status_ = data_loss(index_.path_of(*parts[0].entry) + ": \"" + parts[0].name +
                            "\" and its neighbours are packed in formats that do not go together",
                        parts[0].name);
    return;
  }
  for (WeightItem& item : parts) {
    const WeightFormat stored = dtype_format(source_type(item));
    item.format = is_quantized(stored) ? WeightFormat::kF32 : stored;
  }
}

void Planner::vector(const std::string& name, std::int64_t size, WeightGroup group, const float*& out) {
  const TensorEntry* entry = tensor(name, {size});
  if (entry == nullptr) return;
  const WeightFormat stored = dtype_format(*entry->dtype);
  if (has_blocks(stored) || (entry->unit >= 0 && stored != WeightFormat::kF32)) {
    status_ =
        unimplemented(index_.path_of(*entry) + ": vector \"" + name + "\" is stored as " + format_name(stored), name);
    return;
  }
  items_.push_back(
      {.name = name, .entry = entry, .rows = size, .cols = 1, .group = group, .layer = layer_, .vector = &out});
}

void Planner::linear(const std::string& stem, std::int64_t rows, std::int64_t cols, bool bias, LinearWeights& out) {
  matrix(stem + ".weight", rows, cols, WeightGroup::kAttention, out.weight);
  if (bias) vector(stem + ".bias", rows, WeightGroup::kAttention, out.bias);
}

void Planner::ffn(const FfnNames& names, std::int64_t width, WeightGroup group, ExpertWeights& out) {
  matrix(stem_ + names.gate, width, config_.hidden_size, group, out.gate);
  matrix(stem_ + names.up, width, config_.hidden_size, group, out.up);
  matrix(stem_ + names.down, config_.hidden_size, width, group, out.down);
  settle_ffn();
}

// A projection whose rows rope turns.
void Planner::roped(const char* name, std::int64_t rows, LinearWeights& out) {
  matrix(stem_ + name + ".weight", rows, config_.hidden_size, WeightGroup::kAttention, out.weight);
  // In a packed model they are in order already.
  const bool paired = config_.paired_rope_rows && index_.packed() == nullptr;
  if (status_.ok() && paired) items_.back().paired_rows = config_.head_dim;
  if (config_.qkv_bias) vector(stem_ + name + ".bias", rows, WeightGroup::kAttention, out.bias);
}

void Planner::attention(AttentionWeights& out) {
  const std::int64_t hidden = config_.hidden_size;
  roped(names_.q, config_.q_width(), out.q);
  roped(names_.k, config_.kv_width(), out.k);
  linear(stem_ + names_.v, config_.kv_width(), hidden, config_.qkv_bias, out.v);
  linear(stem_ + names_.o, hidden, config_.q_width(), config_.output_bias, out.o);
  if (config_.arch->qk_norm == QkNorm::kNone) return;
  const bool full = config_.arch->qk_norm == QkNorm::kFullWidth;
  vector(stem_ + names_.q_norm, full ? config_.q_width() : config_.head_dim, WeightGroup::kNorm, out.q_norm);
  vector(stem_ + names_.k_norm, full ? config_.kv_width() : config_.head_dim, WeightGroup::kNorm, out.k_norm);
}

void Planner::experts(const MoeNames& names, std::int64_t width) {
  const std::int64_t hidden = config_.hidden_size;
  for (std::int32_t e = 0; e < config_.router.experts && status_.ok(); ++e) {
    expert_ = e;
    ExpertWeights& out = weights_.experts.slot({LayerId{layer_}, ExpertId{e}});
    matrix(stem_ + numbered(names.gate, e), width, hidden, WeightGroup::kExperts, out.gate);
    matrix(stem_ + numbered(names.up, e), width, hidden, WeightGroup::kExperts, out.up);
    matrix(stem_ + numbered(names.down, e), hidden, width, WeightGroup::kExperts, out.down);
    settle_ffn();
  }
  expert_ = -1;
}

// All experts of a layer in two tensors; each expert's parts are contiguous rows of them.
void Planner::fused_experts(const MoeNames& names, std::int64_t width) {
  const std::int64_t hidden = config_.hidden_size;
  const std::int64_t count = config_.router.experts;
  const TensorEntry* gate_up = tensor(stem_ + names.fused_gate_up, {count, 2 * width, hidden});
  const TensorEntry* down = tensor(stem_ + names.fused_down, {count, hidden, width});
  if (!status_.ok()) return;
  for (std::int32_t e = 0; e < count; ++e) {
    expert_ = e;
    ExpertWeights& out = weights_.experts.slot({LayerId{layer_}, ExpertId{e}});
    const auto name = [&](const char* pattern) { return stem_ + numbered(pattern, e); };
    part(name(names.gate), gate_up, 2 * e * width, width, hidden, WeightGroup::kExperts, out.gate);
    part(name(names.up), gate_up, (2 * e + 1) * width, width, hidden, WeightGroup::kExperts, out.up);
    part(name(names.down), down, e * hidden, hidden, width, WeightGroup::kExperts, out.down);
    settle_ffn();
  }
  expert_ = -1;
}

// The same with gate and up apart.
void Planner::stacked_experts(const MoeNames& names, std::int64_t width) {
  const std::int64_t hidden = config_.hidden_size;
  const std::int64_t count = config_.router.experts;
  const TensorEntry* gate = tensor(stem_ + names.stacked_gate, {count, width, hidden});
  const TensorEntry* up = tensor(stem_ + names.stacked_up, {count, width, hidden});
  const TensorEntry* down = tensor(stem_ + names.stacked_down, {count, hidden, width});
  if (!status_.ok()) return;
  for (std::int32_t e = 0; e < count; ++e) {
    expert_ = e;
    ExpertWeights& out = weights_.experts.slot({LayerId{layer_}, ExpertId{e}});
    const auto name = [&](const char* pattern) { return stem_ + numbered(pattern, e); };
    part(name(names.gate), gate, e * width, width, hidden, WeightGroup::kExperts, out.gate);
    part(name(names.up), up, e * width, width, hidden, WeightGroup::kExperts, out.up);
    part(name(names.down), down, e * hidden, hidden, width, WeightGroup::kExperts, out.down);
    settle_ffn();
  }
  expert_ = -1;
}

const MoeNames& Planner::moe_names() const {
  if (names_.moe != nullptr) return *names_.moe;
  const MoeNames& first = config_.arch->moe[0];
  const MoeNames& other = config_.arch->moe[1];
  const bool takes_other = other.router != nullptr && index_.find(stem_ + first.router) == nullptr &&
                           index_.find(stem_ + other.router) != nullptr;
  return takes_other ? other : first;
}

void Planner::moe(const LayerConfig& layer, LayerWeights& out) {
  const MoeNames* names = &moe_names();
  out.router.rule = config_.router;
  matrix(stem_ + names->router, config_.router.experts, config_.hidden_size, WeightGroup::kRouter, out.router.gate);
  const auto has = [&](const char* name) { return name != nullptr && index_.find(stem_ + name) != nullptr; };
  if (has(names->router_bias)) {
    vector(stem_ + names->router_bias, config_.router.experts, WeightGroup::kRouter, out.router.logit_bias);
  }
  if (!status_.ok()) return;
  weights_.experts.add_layer(config_.router.experts);
  if (has(names->stacked_gate)) {
    stacked_experts(*names, layer.ffn_intermediate);
  } else if (has(names->fused_gate_up)) {
    fused_experts(*names, layer.ffn_intermediate);
  } else {
    experts(*names, layer.ffn_intermediate);
  }
  if (config_.shared_intermediate == 0) return;
  ffn(names_.shared, config_.shared_intermediate, WeightGroup::kSharedExpert, out.shared);
  shared_router(out.shared_gate);
}

// One row, which some files hold as a vector.
void Planner::shared_router(PackedWeight& out) {
  const std::int64_t hidden = config_.hidden_size;
  const std::string name = stem_ + names_.shared_router;
  const TensorEntry* found = index_.find(name);
  const bool flat = found != nullptr && found->shape.size() == 1;
  const TensorEntry* entry = tensor(name, flat ? std::vector{hidden} : std::vector{std::int64_t{1}, hidden});
  if (entry != nullptr) part(name, entry, 0, 1, hidden, WeightGroup::kSharedExpert, out);
}

void Planner::layer(std::int32_t number) {
  layer_ = number;
  stem_ = numbered(names_.layer, config_.first_layer + number);
  LayerWeights& out = weights_.layers[static_cast<std::size_t>(number)];
  const LayerConfig& layer = config_.layers[static_cast<std::size_t>(number)];
  vector(stem_ + names_.attention_norm, config_.hidden_size, WeightGroup::kNorm, out.attention_norm);
  attention(out.attention);
  vector(stem_ + names_.ffn_norm, config_.hidden_size, WeightGroup::kNorm, out.ffn_norm);
  if (layer.sparse) {
    moe(layer, out);
  } else {
    weights_.experts.add_layer(0);
    ffn(names_.dense, layer.ffn_intermediate, WeightGroup::kDenseFfn, out.dense);
  }
}

// A NextN layer with what is before and behind it, all under its stem.
void Planner::nextn() {
  const std::int64_t hidden = config_.hidden_size;
  const NextnNames& names = names_.nextn;
  layer(0);
  vector(stem_ + names.token_norm, hidden, WeightGroup::kNorm, weights_.nextn.token_norm);
  vector(stem_ + names.hidden_norm, hidden, WeightGroup::kNorm, weights_.nextn.hidden_norm);
  matrix(stem_ + names.join, hidden, 2 * hidden, WeightGroup::kAttention, weights_.nextn.join);
  vector(stem_ + names.head_norm, hidden, WeightGroup::kNorm, weights_.final_norm);
  if (index_.find(stem_ + names.embedding) != nullptr) {
    matrix(stem_ + names.embedding, config_.vocab_size, hidden, WeightGroup::kEmbedding, weights_.embedding);
  }
  if (index_.find(stem_ + names.lm_head) != nullptr) {
    matrix(stem_ + names.lm_head, config_.vocab_size, hidden, WeightGroup::kLmHead, weights_.lm_head);
  }
}

Status Planner::run() {
  weights_.layers.resize(config_.layers.size());
  if (config_.first_layer > 0) {
    nextn();
    return status_;
  }
  matrix(names_.embedding, config_.vocab_size, config_.hidden_size, WeightGroup::kEmbedding, weights_.embedding);
  for (std::size_t i = 0; i < config_.layers.size() && status_.ok(); ++i) layer(static_cast<std::int32_t>(i));
  layer_ = -1;
  vector(names_.final_norm, config_.hidden_size, WeightGroup::kNorm, weights_.final_norm);
  if (!config_.tied_embeddings) {
    matrix(names_.lm_head, config_.vocab_size, config_.hidden_size, WeightGroup::kLmHead, weights_.lm_head);
  }
  return status_;
}

}  // namespace

DType source_type(const WeightItem& item) {
  return item.stored ? item.stored->type : *item.entry->dtype;
}

std::int64_t source_bytes(const WeightItem& item) {
  if (item.stored) return static_cast<std::int64_t>(item.stored->file_bytes());
  if (item.entry->unit >= 0) return static_cast<std::int64_t>(item.entry->bytes);
  // A vector is a row: one column for the packer, and a scalar type in the file.
  return item.rows * dtype_row_bytes(*item.entry->dtype, item.cols);
}

std::int64_t source_bytes(const WeightItem& item, std::int64_t rows) {
  const std::int64_t bytes = source_bytes(item);
  return rows == item.rows ? bytes : bytes / item.rows * rows;
}

Result<std::vector<WeightItem>> plan_weights(const ModelConfig& config, const TensorIndex& index,
                                             const WeightPlanOptions& options, ModelWeights& weights) {
  if (index.packed() != nullptr && options.quantization) {
    const std::string& packed = index.packed()->index().quantization;
    if (packed != format_name(*options.quantization)) {
      return invalid_argument("the model is packed with quantization " + printable(packed) +
                                  " and cannot be loaded with another; leave it out, or pack the original again",
                              "quantization");
    }
  }
  Planner planner(config, index, options, weights);
  RETURN_IF_ERROR(planner.run());
  return planner.take();
}

}  // namespace foregate
