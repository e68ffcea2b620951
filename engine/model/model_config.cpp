#include "engine/model/model_config.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/model/config_limits.h"
#include "engine/model/config_reader.h"
#include "engine/model/rope_config.h"
#include "engine/weights/checked_json.h"

namespace foregate {
namespace {

using Json = nlohmann::json;

constexpr std::uint64_t kMaxConfigBytes = 1 << 20;

std::int32_t int_field(ConfigReader& config, const char* key, std::int64_t high) {
  return static_cast<std::int32_t>(config.integer(key, 1, high));
}

const ArchTable* read_arch(ConfigReader& config) {
  const auto classes = config.texts("architectures", 16);
  const std::string class_name = classes.empty() ? "" : classes.front();
  const std::string model_type = config.text_or("model_type", "");
  const ArchTable* arch = find_arch(class_name, model_type);
  if (arch != nullptr || !config.status().ok()) return arch;
  std::string known;
  for (const ArchTable* each : all_archs()) known += std::string(known.empty() ? "" : ", ") + each->class_name;
  config.refuse("architectures", "\"" + printable(class_name.empty() ? model_type : class_name) +
                                     "\" is not supported; known: " + known);
  return nullptr;
}

Activation read_activation(ConfigReader& config, const ArchTable& arch) {
  if (!config.has("hidden_act")) return arch.activation;
  const std::string name = config.text_or("hidden_act", "");
  if (name == "silu" || name == "swish") return Activation::kSilu;
  if (name == "gelu") return Activation::kGelu;
  if (name == "gelu_new" || name == "gelu_pytorch_tanh") return Activation::kGeluTanh;
  if (name == "relu") return Activation::kRelu;
  config.refuse("hidden_act", "\"" + printable(name) + "\" is not supported");
  return Activation::kSilu;
}

void refuse_unsupported(ConfigReader& config, const ArchTable& arch) {
  for (const FixedFlag& flag : arch.fixed) {
    if (flag.key == nullptr || config.boolean_or(flag.key, flag.value) == flag.value) continue;
    config.refuse(flag.key, flag.value ? "= false is not supported" : "= true is not supported");
  }
  if (config.integer_or("moe_shared_primary_experts", 0, kMaxExperts, 0) != 0) {
    config.refuse("moe_shared_primary_experts", "other than 0 is not supported");
  }
  if (config.has("clip_qkv")) config.refuse("clip_qkv", "is not supported");
  if (config.number_or("partial_rotary_factor", 0.0, 1.0, 1.0) != 1.0) {
    config.refuse("partial_rotary_factor", "other than 1 is not supported");
  }
}

void read_attention(ConfigReader& config, ModelConfig& model) {
  model.heads = int_field(config, "num_attention_heads", kMaxHeads);
  model.kv_heads = model.heads;
  if (config.has("num_key_value_heads")) model.kv_heads = int_field(config, "num_key_value_heads", kMaxHeads);
  if (model.heads % model.kv_heads != 0) {
    config.reject("num_key_value_heads", "does not divide num_attention_heads");
  }
  if (config.has("head_dim")) {
    model.head_dim = int_field(config, "head_dim", kMaxHeadDim);
  } else if (model.arch->head_dim_default > 0) {
    model.head_dim = model.arch->head_dim_default;
  } else if (model.hidden_size % model.heads != 0) {
    config.reject("hidden_size", "is not a multiple of num_attention_heads and head_dim is missing");
  } else {
    model.head_dim = model.hidden_size / model.heads;
  }
  if (model.head_dim % 2 != 0) config.reject("head_dim", "is odd, so rotary pairs do not fit");
  if (model.arch->qk_norm == QkNorm::kFullWidth && model.q_width() != model.hidden_size) {
    config.reject("head_dim", "times num_attention_heads must equal hidden_size in this architecture");
  }
  if (model.arch->qkv_bias_key != nullptr) {
    model.qkv_bias = config.boolean_or(model.arch->qkv_bias_key, model.arch->qkv_bias_default);
  }
  model.output_bias = model.qkv_bias && model.arch->output_bias_follows_qkv;
}

// num_experts and num_local_experts are one field under two spellings.
std::int32_t read_expert_count(ConfigReader& config, const ArchTable& arch) {
  if (arch.experts_key != nullptr) return int_field(config, arch.experts_key, kMaxExperts);
  if (!config.has("num_local_experts")) return int_field(config, "num_experts", kMaxExperts);
  const std::int32_t experts = int_field(config, "num_local_experts", kMaxExperts);
  if (config.has("num_experts") && int_field(config, "num_experts", kMaxExperts) != experts) {
    config.reject("num_experts", "and num_local_experts differ");
  }
  return experts;
}

void read_router(ConfigReader& config, ModelConfig& model) {
  const ArchTable& arch = *model.arch;
  model.router.experts = read_expert_count(config, arch);
  model.router.top_k = int_field(config, arch.top_k_key, kMaxExperts);
  if (model.router.top_k > model.router.experts) {
    config.reject(arch.top_k_key, "is larger than the number of experts");
  }
  const bool normalize = arch.norm_topk == NormTopk::kAlways || config.boolean_or("norm_topk_prob", false);
  model.router.score = RouterScore::kSoftmax;
  model.router.weights = normalize ? RouterWeights::kRenormalize : RouterWeights::kRaw;
  if (arch.softmax_key != nullptr) {
    const bool softmax = config.boolean_or(arch.softmax_key, false);
    model.router.score = RouterScore::kIdentity;
    model.router.weights = softmax ? RouterWeights::kSoftmaxOfSelected : RouterWeights::kSigmoidOfSelected;
  }
  if (arch.shared_expert_width_key != nullptr) {
    model.shared_intermediate = int_field(config, arch.shared_expert_width_key, kMaxWidth);
  }
}

void read_ffn_layers(ConfigReader& config, ModelConfig& model) {
  const ArchTable& arch = *model.arch;
  const auto layers = static_cast<std::int64_t>(model.layers.size());
  const auto count = layers + static_cast<std::int64_t>(model.nextn.size());
  std::int64_t step = 1;
  std::vector<std::int64_t> dense;
  if (arch.dense_layers_from_config) {
    step = config.integer_or("decoder_sparse_step", 1, kMaxLayers, 1);
    dense = config.integers("mlp_only_layers", 0, count - 1, static_cast<std::size_t>(kMaxLayers));
  }
  for (std::int64_t i = 0; i < count; ++i) {
    LayerConfig& layer =
        i < layers ? model.layers[static_cast<std::size_t>(i)] : model.nextn[static_cast<std::size_t>(i - layers)];
    layer.sparse = arch.sparse && (i + 1) % step == 0 && std::find(dense.begin(), dense.end(), i) == dense.end();
    layer.ffn_intermediate = int_field(config, layer.sparse ? arch.expert_width_key : "intermediate_size", kMaxWidth);
  }
}

// Which layers attend through a window, as the architecture's rule and the config say.
bool is_windowed(const ArchTable& arch, std::int64_t layer, std::int64_t max_window_layers) {
  if (arch.window == WindowRule::kUpperLayers) return layer >= max_window_layers;
  if (arch.window == WindowRule::kEvenLower) return layer % 2 == 0 && layer < max_window_layers;
  return true;
}

// One number per layer, 0 or 1; all `fallback` where it is missing.
std::vector<std::int64_t> read_layout(ConfigReader& config, const char* key, const ModelConfig& model,
                                      std::int64_t fallback) {
  auto layout = config.integers(key, 0, 1, static_cast<std::size_t>(kMaxLayers));
  if (!config.has(key)) layout.assign(model.layers.size(), fallback);
  if (config.status().ok() && layout.size() != model.layers.size()) {
    config.reject(key, "does not have one entry per layer");
  }
  layout.resize(model.layers.size(), fallback);
  return layout;
}

void read_layouts(ConfigReader& config, ModelConfig& model) {
  if (model.arch->rope_layout) {
    const auto roped = read_layout(config, "rope_layout", model, 1);
    for (std::size_t i = 0; i < roped.size(); ++i) model.layers[i].rope = roped[i] == 1 ? 0 : -1;
  }
  if (model.arch->window != WindowRule::kLayout) return;
  const auto windowed = read_layout(config, "sliding_window_layout", model, 0);
  if (std::find(windowed.begin(), windowed.end(), 1) == windowed.end()) return;
  const std::int32_t window = int_field(config, "sliding_window_size", kMaxPositions);
  for (std::size_t i = 0; i < windowed.size(); ++i) model.layers[i].window = windowed[i] == 1 ? window : 0;
}

void read_windows(ConfigReader& config, ModelConfig& model) {
  const ArchTable& arch = *model.arch;
  if (arch.window == WindowRule::kLayout) return;
  const bool by_layer = arch.window == WindowRule::kUpperLayers || arch.window == WindowRule::kEvenLower;
  bool enabled = config.has("sliding_window");
  if (by_layer || arch.window == WindowRule::kAllWhenEnabled) {
    enabled = config.boolean_or("use_sliding_window", false) && enabled;
  }
  const auto types = by_layer ? config.texts("layer_types", kMaxLayers) : std::vector<std::string>{};
  if (!types.empty() && types.size() != model.layers.size()) {
    config.reject("layer_types", "does not have one entry per layer");
    return;
  }
  for (const std::string& type : types) {
    if (type != "full_attention" && type != "sliding_attention") {
      config.refuse("layer_types", "\"" + printable(type) + "\" is not supported");
    }
  }
  if (!enabled) {
    if (std::find(types.begin(), types.end(), "sliding_attention") != types.end()) {
      config.reject("layer_types", "asks for sliding_attention without use_sliding_window and sliding_window");
    }
    return;
  }
  if (arch.window == WindowRule::kUnsupported) config.refuse("sliding_window", "is not supported here");
  const std::int32_t window = int_field(config, "sliding_window", kMaxPositions);
  const std::int64_t max_window_layers = config.integer_or("max_window_layers", 0, kMaxPositions, 28);
  for (std::size_t i = 0; i < model.layers.size(); ++i) {
    const bool windowed = types.empty() ? is_windowed(arch, static_cast<std::int64_t>(i), max_window_layers)
                                        : types[i] == "sliding_attention";
    if (windowed) model.layers[i].window = window;
  }
}

void read_special_tokens(ConfigReader& config, ModelConfig& model) {
  const std::int64_t last = model.vocab_size - 1;
  // Several released files carry an id past the vocabulary, or -1 for none, so the id is only
  // bounded to its type here and dropped when no token can have it.
  const std::int64_t bos = config.integer_or("bos_token_id", -1, INT32_MAX, -1);
  if (bos >= 0 && bos <= last) model.bos = static_cast<Token>(bos);
  const auto ids = config.integer_or_list("eos_token_id", -1, INT32_MAX);
  if (ids.empty()) return;
  model.eos.clear();
  for (const std::int64_t id : ids) {
    if (id >= 0 && id <= last) model.eos.push_back(static_cast<Token>(id));
  }
}

void read_model(ConfigReader& config, ModelConfig& model) {
  model.arch = read_arch(config);
  if (model.arch == nullptr) return;
  refuse_unsupported(config, *model.arch);
  model.vocab_size = int_field(config, "vocab_size", kMaxVocab);
  model.hidden_size = int_field(config, "hidden_size", kMaxWidth);
  model.max_positions = int_field(config, "max_position_embeddings", kMaxPositions);
  model.layers.resize(static_cast<std::size_t>(int_field(config, "num_hidden_layers", kMaxLayers)));
  model.nextn.resize(static_cast<std::size_t>(config.integer_or("num_nextn_predict_layers", 0, kMaxLayers, 0)));
  model.rms_norm_eps =
      static_cast<float>(config.number_or("rms_norm_eps", 1e-12, 1.0, model.arch->rms_norm_eps_default));
  model.activation = read_activation(config, *model.arch);
  model.tied_embeddings = config.boolean_or("tie_word_embeddings", false);
  model.dtype = config.text_or("dtype", config.text_or("torch_dtype", ""));
  read_attention(config, model);
  if (model.arch->sparse) read_router(config, model);
  read_ffn_layers(config, model);
  read_windows(config, model);
  read_layouts(config, model);
  read_special_tokens(config, model);
}

Status read_object(const FileSystem& files, const std::string& path, Json& out) {
  ASSIGN_OR_RETURN(const std::string text, read_text(files, path, kMaxConfigBytes));
  return parse_checked_json(text, 32, path, out);
}

template <class T>
void set_optional(ConfigReader& config, const char* key, double low, double high, std::optional<T>& out) {
  if (config.has(key)) out = static_cast<T>(config.number(key, low, high));
}

Status read_generation_config(const FileSystem& files, const std::string& path, ModelConfig& model) {
  Json root;
  RETURN_IF_ERROR(read_object(files, path, root));
  ConfigReader config(root, path);
  read_special_tokens(config, model);
  SamplingDefaults& sampling = model.sampling;
  if (config.has("do_sample")) sampling.do_sample = config.boolean_or("do_sample", false);
  set_optional(config, "temperature", 0.0, 100.0, sampling.temperature);
  if (config.has("top_k")) sampling.top_k = static_cast<std::int32_t>(config.integer("top_k", -1, kMaxVocab));
  set_optional(config, "top_p", 0.0, 1.0, sampling.top_p);
  set_optional(config, "min_p", 0.0, 1.0, sampling.min_p);
  set_optional(config, "repetition_penalty", 1e-3, 100.0, sampling.repetition_penalty);
  return config.status();
}

}  // namespace

std::int32_t ModelConfig::widest_ffn() const {
  std::int32_t widest = shared_intermediate;
  for (const LayerConfig& layer : layers) widest = std::max(widest, layer.ffn_intermediate);
  return widest;
}

Result<ModelConfig> read_model_config(const FileSystem& files, const std::string& dir) {
  const std::string path = dir + "/config.json";
  Json root;
  RETURN_IF_ERROR(read_object(files, path, root));
  ConfigReader config(root, path);
  ModelConfig model;
  read_model(config, model);
  RETURN_IF_ERROR(config.status());
  ASSIGN_OR_RETURN(RopeConfig rope, read_rope_config(root, path, model));
  model.ropes.push_back(rope);
  ASSIGN_OR_RETURN(model.quantization, read_quantization_config(root, path));
  const std::string generation = dir + "/generation_config.json";
  if (files.exists(generation)) RETURN_IF_ERROR(read_generation_config(files, generation, model));
  return model;
}

}  // namespace foregate
