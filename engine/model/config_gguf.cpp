#include "engine/model/config_gguf.h"

#include <algorithm>
#include <map>

#include "engine/model/config_limits.h"
#include "engine/model/gguf_names.h"
#include "engine/model/gguf_rope.h"
#include "engine/model/metadata_reader.h"
#include "engine/weights/checked_json.h"

namespace foregate {
namespace {

// Control tokens that end a turn or a text in the chat formats of published models; GGUF names only one of several.
constexpr std::string_view kEndTokens[] = {"<|im_end|>",      "<|endoftext|>", "<|eot_id|>", "<|eom_id|>",
                                           "<|end_of_text|>", "<|eot|>",       "<|eom|>",    "<end_of_turn>"};
constexpr std::int64_t kControlType = 3;

class Reader {
 public:
  Reader(const GgufHeader& header, const TensorIndex& index, const TensorIndex& numbers, const std::string& path,
         const GgufArch& arch)
      : index_(index),
        numbers_(numbers),
        arch_(arch),
        general_(header, path),
        keys_(header, path, std::string(arch.name) + "."),
        header_(header) {}

  Result<ModelConfig> read();

 private:
  std::int32_t size(const char* key, std::int64_t high) {
    return static_cast<std::int32_t>(keys_.integer(key, 1, high));
  }
  const TensorEntry* layer_tensor(std::size_t layer, const std::string& name) const;
  void refuse_unsupported();
  void refuse_unknown_tensors();
  void read_vocab_size();
  void read_attention();
  void read_router();
  void read_layers();
  std::int32_t width(const char* key, const std::string& tensor, std::size_t dimension, std::size_t layer);
  std::int32_t expert_width(std::size_t layer);
  void read_window();
  void read_special_tokens();
  void add_end(std::optional<Token> id);
  void read_sampling();
  void describe_types();

  const TensorIndex& index_;
  const TensorIndex& numbers_;
  const GgufArch& arch_;
  MetadataReader general_;  // keys by their full names
  MetadataReader keys_;     // keys of the architecture
  const GgufHeader& header_;
  ModelConfig model_;
};

const TensorEntry* Reader::layer_tensor(std::size_t layer, const std::string& name) const {
  return index_.find(numbered(kGgufNames.layer, static_cast<std::int64_t>(layer)) + name);
}

// Keys whose presence changes what the model computes.
void Reader::refuse_unsupported() {
  for (const char* key : {"attention.clamp_kqv", "attention.max_alibi_bias", "attention.scale", "logit_scale",
                          "attn_logit_softcapping", "router_logit_softcapping", "final_logit_softcapping",
                          "residual_scale", "embedding_scale", "attention.q_lora_rank", "attention.kv_lora_rank",
                          "nextn_predict_layers", "expert_group_scale", "moe_latent_size", "swin_norm"}) {
    if (keys_.has(key) && keys_.number_or(key, -1e30, 1e30, 0.0) != 0.0) keys_.refuse(key, "is not supported");
  }
  for (const char* key : {"expert_group_count", "expert_group_used_count", "moe_every_n_layers",
                          "interleave_moe_layer_step", "attention.shared_kv_layers"}) {
    if (keys_.integer_or(key, 0, INT32_MAX, 0) > 1) keys_.refuse(key, "above 1 is not supported");
  }
  for (const char* key : {"attention.sliding_window_pattern", "rope.dimension_sections"}) {
    if (keys_.has(key)) keys_.refuse(key, "is not supported");
  }
  if (!keys_.boolean_or("attention.causal", true)) keys_.refuse("attention.causal", "= false is not supported");
  if (keys_.boolean_or("use_parallel_residual", false)) keys_.refuse("use_parallel_residual", "is not supported");
}

// A tensor that nothing reads would have meant something to whoever wrote it.
void Reader::refuse_unknown_tensors() {
  for (const TensorEntry& entry : index_.tensors()) {
    if (is_known_gguf_tensor(entry.name)) continue;
    keys_.merge(unimplemented(index_.path_of(entry) + ": tensor \"" + printable(entry.name) +
                                  "\" has no meaning in architecture \"" + arch_.name + "\" as it is supported here",
                              printable(entry.name)));
    return;
  }
}

void Reader::read_vocab_size() {
  const TensorEntry* table = index_.find(kGgufNames.embedding);
  if (table == nullptr || table->shape.size() != 2 || table->shape[0] < 1 || table->shape[0] > kMaxVocab) {
    keys_.merge(
        data_loss(keys_.file() + ": tensor \"" + kGgufNames.embedding + "\" is missing or not [vocabulary, width]",
                  kGgufNames.embedding));
    return;
  }
  model_.vocab_size = static_cast<std::int32_t>(table->shape[0]);
  model_.tied_embeddings = index_.find(kGgufNames.lm_head) == nullptr;
}

void Reader::read_attention() {
  model_.heads = size("attention.head_count", kMaxHeads);
  model_.kv_heads = static_cast<std::int32_t>(keys_.integer_or("attention.head_count_kv", 1, kMaxHeads, model_.heads));
  if (model_.heads % model_.kv_heads != 0) keys_.reject("attention.head_count_kv", "does not divide the head count");
  if (keys_.has("attention.key_length")) {
    model_.head_dim = size("attention.key_length", kMaxHeadDim);
  } else if (model_.hidden_size % model_.heads != 0) {
    keys_.reject("embedding_length", "is not a multiple of the head count and attention.key_length is missing");
  } else {
    model_.head_dim = model_.hidden_size / model_.heads;
  }
  if (model_.head_dim % 2 != 0) keys_.reject("attention.key_length", "is odd, so rotary pairs do not fit");
  if (keys_.integer_or("attention.value_length", 1, kMaxHeadDim, model_.head_dim) != model_.head_dim) {
    keys_.refuse("attention.value_length", "other than the key length is not supported");
  }
  if (model_.arch->qk_norm == QkNorm::kFullWidth && model_.q_width() != model_.hidden_size) {
    keys_.reject("attention.key_length", "times the head count must equal embedding_length in this architecture");
  }
  const auto has_bias = [&](const char* name) { return layer_tensor(0, std::string(name) + ".bias") != nullptr; };
  model_.qkv_bias = has_bias(kGgufNames.q);
  model_.output_bias = has_bias(kGgufNames.o);
  model_.paired_rope_rows = arch_.paired_rope_rows;
  if (model_.paired_rope_rows && model_.qkv_bias) {
    keys_.merge(unimplemented(keys_.file() + ": attn_q.bias is not supported in this architecture", "attn_q.bias"));
  }
}

void Reader::read_router() {
  RouterRule& router = model_.router;
  router.experts = size("expert_count", kMaxExperts);
  router.top_k = size("expert_used_count", kMaxExperts);
  if (router.top_k > router.experts) keys_.reject("expert_used_count", "is larger than expert_count");
  const bool either = model_.arch->softmax_key != nullptr;
  const std::int64_t gating = keys_.integer_or("expert_gating_func", 0, INT32_MAX, either ? 0 : 1);
  if (either && gating != 1 && gating != 2) {
    keys_.refuse("expert_gating_func", "must be 1 (softmax) or 2 (sigmoid) in this architecture");
  } else if (!either && gating > 1) {
    keys_.refuse("expert_gating_func", "other than 1 (softmax) is not supported");
  }
  const bool normalize = keys_.boolean_or("expert_weights_norm", arch_.normalize_topk);
  router.score = RouterScore::kSoftmax;
  router.weights = normalize ? RouterWeights::kRenormalize : RouterWeights::kRaw;
  if (either) {
    router.score = RouterScore::kIdentity;
    router.weights = gating == 1 ? RouterWeights::kSoftmaxOfSelected : RouterWeights::kSigmoidOfSelected;
  }
  // Zero stands for a file that says nothing.
  const double scale = keys_.number_or("expert_weights_scale", 0.0, 1e6, 1.0);
  router.scale = scale == 0.0 ? 1.0f : static_cast<float>(scale);
}

// A width from its key, or from the tensor whose `dimension` it is.
std::int32_t Reader::width(const char* key, const std::string& tensor, std::size_t dimension, std::size_t layer) {
  if (!keys_.has(key)) {
    const TensorEntry* entry = layer_tensor(layer, tensor);
    if (entry != nullptr && dimension < entry->shape.size() && entry->shape[dimension] >= 1 &&
        entry->shape[dimension] <= kMaxWidth) {
      return static_cast<std::int32_t>(entry->shape[dimension]);
    }
  }
  return size(key, kMaxWidth);
}

// Experts lie one by one in old files and in packs, else in one tensor.
std::int32_t Reader::expert_width(std::size_t layer) {
  const MoeNames& names = *kGgufNames.moe;
  if (layer_tensor(layer, names.stacked_gate) != nullptr) {
    return width(arch_.expert_width_key, names.stacked_gate, 1, layer);
  }
  return width(arch_.expert_width_key, numbered(names.gate, 0), 0, layer);
}

// A layer is sparse when it has a router.
void Reader::read_layers() {
  for (std::size_t i = 0; i < model_.layers.size() && keys_.status().ok(); ++i) {
    LayerConfig& layer = model_.layers[i];
    layer.sparse = layer_tensor(i, kGgufNames.moe->router) != nullptr;
    if (layer.sparse && arch_.expert_width_key == nullptr) {
      keys_.merge(
          unimplemented(keys_.file() + ": architecture \"" + arch_.name + "\" has no experts here", "expert_count"));
    } else if (layer.sparse) {
      layer.ffn_intermediate = expert_width(i);
    } else {
      layer.ffn_intermediate = width("feed_forward_length", kGgufNames.dense.gate, 0, i);
    }
    if (!layer.sparse || model_.arch->shared_expert_width_key == nullptr || model_.shared_intermediate != 0) continue;
    model_.shared_intermediate = width("expert_shared_feed_forward_length", kGgufNames.shared.gate, 0, i);
  }
}

void Reader::read_window() {
  const auto window = static_cast<std::int32_t>(keys_.integer_or("attention.sliding_window", 0, kMaxPositions, 0));
  if (window == 0) return;
  if (arch_.window_period > 0) {
    for (std::size_t i = 0; i < model_.layers.size(); ++i) {
      const bool all = i % static_cast<std::size_t>(arch_.window_period) == 0;
      model_.layers[i].window = all ? 0 : window;
      model_.layers[i].rope = all ? -1 : 0;
    }
    return;
  }
  if (model_.arch->window != WindowRule::kAllLayers && model_.arch->window != WindowRule::kAllWhenEnabled) {
    keys_.refuse("attention.sliding_window", "is not supported in this architecture");
  }
  for (LayerConfig& layer : model_.layers) layer.window = window;
}

void Reader::add_end(std::optional<Token> id) {
  if (!id || *id < 0 || *id >= model_.vocab_size) return;
  if (std::find(model_.eos.begin(), model_.eos.end(), *id) == model_.eos.end()) model_.eos.push_back(*id);
}

void Reader::read_special_tokens() {
  const auto id = [&](const char* key) -> std::optional<Token> {
    if (!general_.has(key)) return std::nullopt;
    return static_cast<Token>(general_.integer(key, 0, INT32_MAX));
  };
  const auto bos = id("tokenizer.ggml.bos_token_id");
  if (bos && *bos < model_.vocab_size) model_.bos = bos;
  for (const char* key : {"eos", "eot", "eom"}) {
    add_end(id((std::string("tokenizer.ggml.") + key + "_token_id").c_str()));
  }
  const GgufValue* tokens = header_.find("tokenizer.ggml.tokens");
  const GgufValue* types = header_.find("tokenizer.ggml.token_type");
  if (tokens == nullptr || types == nullptr) return;
  for (std::size_t i = 0; i < tokens->texts.size(); ++i) {
    if (types->integer(i) != kControlType) continue;
    if (std::find(std::begin(kEndTokens), std::end(kEndTokens), tokens->texts[i]) == std::end(kEndTokens)) continue;
    add_end(static_cast<Token>(i));
  }
}

void Reader::read_sampling() {
  SamplingDefaults& sampling = model_.sampling;
  const auto set = [&](const char* key, double low, double high, std::optional<float>& out) {
    if (general_.has(key)) out = static_cast<float>(general_.number(key, low, high));
  };
  set("general.sampling.temp", 0.0, 100.0, sampling.temperature);
  set("general.sampling.top_p", 0.0, 1.0, sampling.top_p);
  set("general.sampling.min_p", 0.0, 1.0, sampling.min_p);
  set("general.sampling.penalty_repeat", 1e-3, 100.0, sampling.repetition_penalty);
  if (general_.has("general.sampling.top_k")) {
    sampling.top_k = static_cast<std::int32_t>(general_.integer("general.sampling.top_k", -1, kMaxVocab));
  }
}

// The type that holds most of the bytes, for display.
void Reader::describe_types() {
  std::map<std::string, std::uint64_t> bytes;
  for (const TensorEntry& entry : index_.tensors()) bytes[entry.dtype_name] += entry.bytes;
  const auto most =
      std::max_element(bytes.begin(), bytes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  if (most != bytes.end()) model_.dtype = most->first;
}

Result<ModelConfig> Reader::read() {
  model_.arch = arch_.arch;
  model_.names = &kGgufNames;
  model_.activation = arch_.arch->activation;
  refuse_unsupported();
  refuse_unknown_tensors();
  read_vocab_size();
  RETURN_IF_ERROR(keys_.status());
  model_.hidden_size = size("embedding_length", kMaxWidth);
  model_.max_positions = size("context_length", kMaxPositions);
  model_.layers.resize(static_cast<std::size_t>(size("block_count", kMaxLayers)));
  model_.rms_norm_eps = static_cast<float>(keys_.number("attention.layer_norm_rms_epsilon", 1e-12, 1.0));
  read_attention();
  if (model_.arch->sparse) read_router();
  read_layers();
  read_window();
  RETURN_IF_ERROR(keys_.status());
  ASSIGN_OR_RETURN(RopeConfig rope, read_gguf_rope(keys_, numbers_, model_));
  model_.ropes.push_back(std::move(rope));
  read_special_tokens();
  read_sampling();
  describe_types();
  RETURN_IF_ERROR(general_.status());
  return std::move(model_);
}

}  // namespace

Result<ModelConfig> read_gguf_config(const GgufHeader& header, const TensorIndex& index, const TensorIndex& numbers,
                                     const std::string& path) {
  MetadataReader general(header, path);
  const std::string name = general.text_or("general.architecture", "");
  RETURN_IF_ERROR(general.status());
  const GgufArch* arch = find_gguf_arch(name);
  const bool dense_llama = name == "llama" && header.find("llama.expert_count") == nullptr;
  if (arch != nullptr && !dense_llama) return Reader(header, index, numbers, path, *arch).read();
  std::string known;
  for (const GgufArch& each : all_gguf_archs()) known += std::string(known.empty() ? "" : ", ") + each.name;
  return unimplemented(path + ": general.architecture \"" + printable(name) + "\"" +
                           (dense_llama ? " without experts" : "") + " is not supported; known: " + known,
                       "general.architecture");
}

}  // namespace foregate
