#include "tools/bench/shapes.h"

#include "engine/io/gguf_files.h"
#include "engine/model/gguf_names.h"
#include "kernels/api/quant.h"

namespace foregate {
namespace {

// Only its names and norms are used: config.json of gpt-oss is not read.
const ArchTable kArchGptOss = {
    .model_type = "gpt-oss", .class_name = "GptOssForCausalLM", .sparse = true, .norm_topk = NormTopk::kAlways};

// From config.json of the models on Hugging Face; `tiny` and `tiny-qwen3` are for tests.
constexpr ModelShape kShapes[] = {
    {.name = "olmoe-1b-7b",
     .arch = &kArchOlmoe,
     .layers = 16,
     .hidden = 2048,
     .heads = 16,
     .kv_heads = 16,
     .head_dim = 128,
     .experts = 64,
     .top_k = 8,
     .expert_ffn = 1024,
     .vocab = 50304,
     .positions = 4096},
    {.name = "pregated-1b-7b",
     .arch = &kArchPreGated,
     .layers = 16,
     .hidden = 2048,
     .heads = 16,
     .kv_heads = 16,
     .head_dim = 128,
     .experts = 64,
     .top_k = 8,
     .expert_ffn = 1024,
     .vocab = 50304,
     .positions = 4096,
     .normalized_topk = true,
     .note = "dimensions of olmoe-1b-7b with the routing of models/demo-pregated"},
    {.name = "qwen3-30b-a3b",
     .arch = &kArchQwen3Moe,
     .layers = 48,
     .hidden = 2048,
     .heads = 32,
     .kv_heads = 4,
     .head_dim = 128,
     .experts = 128,
     .top_k = 8,
     .expert_ffn = 768,
     .vocab = 151936,
     .positions = 40960,
     .rope_theta = 1e6,
     .rms_norm_eps = 1e-6f,
     .normalized_topk = true},
    {.name = "gpt-oss-20b",
     .arch = &kArchGptOss,
     .layers = 24,
     .hidden = 2880,
     .heads = 64,
     .kv_heads = 8,
     .head_dim = 64,
     .experts = 32,
     .top_k = 4,
     .expert_ffn = 2880,
     .vocab = 201088,
     .positions = 131072,
     .rope_theta = 150000.0,
     .normalized_topk = true,
     .attention_biases = true,
     .even_window = 128,
     .expert_type = DType::kMxfp4,
     .note = "dimensions of gpt-oss-20b only: its attention sinks, clamped activation, expert biases and yarn scaling "
             "are not computed"},
    {.name = "mixtral-8x7b",
     .arch = &kArchMixtral,
     .layers = 32,
     .hidden = 4096,
     .heads = 32,
     .kv_heads = 8,
     .head_dim = 128,
     .experts = 8,
     .top_k = 2,
     .expert_ffn = 14336,
     .vocab = 32000,
     .positions = 32768,
     .rope_theta = 1e6,
     .normalized_topk = true},
    {.name = "tiny",
     .arch = &kArchOlmoe,
     .layers = 4,
     .hidden = 256,
     .heads = 4,
     .kv_heads = 4,
     .head_dim = 64,
     .experts = 16,
     .top_k = 4,
     .expert_ffn = 256,
     .vocab = 4096,
     .positions = 4096},
    {.name = "tiny-qwen3",
     .arch = &kArchQwen3Moe,
     .layers = 4,
     .hidden = 256,
     .heads = 8,
     .kv_heads = 2,
     .head_dim = 64,
     .experts = 16,
     .top_k = 4,
     .expert_ffn = 256,
     .vocab = 4096,
     .positions = 4096,
     .rope_theta = 1e6,
     .rms_norm_eps = 1e-6f,
     .normalized_topk = true},
};

constexpr std::int32_t kMostLayers = 1000;

// Stands in the place of the model's file: messages name it, and there is nothing to read.
class ShapeFile final : public File {
 public:
  explicit ShapeFile(std::string path) : path_(std::move(path)) {}
  std::uint64_t size() const override { return 0; }
  const std::string& path() const override { return path_; }
  Status read(std::uint64_t, std::span<std::byte>) const override {
    return internal_error(path_ + ": a shape has no bytes to read");
  }

 private:
  std::string path_;
};

class TensorList {
 public:
  void add(std::string name, DType type, std::vector<std::int64_t> shape) {
    if (shape.back() % dtype_block(type).elements != 0) type = DType::kQ8_0;
    std::int64_t rows = 1;
    for (std::size_t i = 0; i + 1 < shape.size(); ++i) rows *= shape[i];
    const auto bytes = static_cast<std::uint64_t>(rows * dtype_row_bytes(type, shape.back()));
    tensors_.push_back({std::move(name), dtype_name(type), type, std::move(shape), offset_, bytes});
    offset_ += bytes;
  }
  std::vector<GgufTensor> take() { return std::move(tensors_); }

 private:
  std::vector<GgufTensor> tensors_;
  std::uint64_t offset_ = 0;
};

// Where the mix named q4_k_m has more bits: the first and last eighth of the layers, and every third between.
bool has_finer_type(std::int32_t layer, std::int32_t layers) {
  const std::int32_t eighth = layers / 8;
  return layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2;
}

void add_attention(const ModelConfig& config, const std::string& stem, const ShapeFormat& format, DType v_type,
                   TensorList& list) {
  const WeightNames& names = *config.names;
  const std::int64_t hidden = config.hidden_size;
  const std::int64_t q = config.q_width();
  const std::int64_t kv = config.kv_width();
  list.add(stem + names.q + ".weight", format.base, {q, hidden});
  list.add(stem + names.k + ".weight", format.base, {kv, hidden});
  list.add(stem + names.v + ".weight", v_type, {kv, hidden});
  list.add(stem + names.o + ".weight", format.base, {hidden, q});
  if (config.qkv_bias) {
    list.add(stem + names.q + ".bias", DType::kF32, {q});
    list.add(stem + names.k + ".bias", DType::kF32, {kv});
    list.add(stem + names.v + ".bias", DType::kF32, {kv});
  }
  if (config.output_bias) list.add(stem + names.o + ".bias", DType::kF32, {hidden});
  if (config.arch->qk_norm == QkNorm::kNone) return;
  const bool full = config.arch->qk_norm == QkNorm::kFullWidth;
  list.add(stem + names.q_norm, DType::kF32, {full ? q : config.head_dim});
  list.add(stem + names.k_norm, DType::kF32, {full ? kv : config.head_dim});
}

void add_layer(const ModelShape& shape, const ModelConfig& config, std::int32_t layer, const ShapeFormat& format,
               bool router_biases, TensorList& list) {
  const WeightNames& names = *config.names;
  const std::string stem = numbered(names.layer, layer);
  const auto layers = static_cast<std::int32_t>(config.layers.size());
  const DType finer = has_finer_type(layer, layers) ? format.finer : format.base;
  const std::int64_t experts = shape.experts;
  const std::int64_t hidden = shape.hidden;
  const std::int64_t width = shape.expert_ffn;
  list.add(stem + names.attention_norm, DType::kF32, {hidden});
  add_attention(config, stem, format, finer, list);
  list.add(stem + names.ffn_norm, DType::kF32, {hidden});
  list.add(stem + names.moe->router, DType::kF32, {experts, hidden});
  if (router_biases) list.add(stem + names.moe->router_bias, DType::kF32, {experts});
  list.add(stem + names.moe->stacked_gate, shape.expert_type.value_or(format.base), {experts, width, hidden});
  list.add(stem + names.moe->stacked_up, shape.expert_type.value_or(format.base), {experts, width, hidden});
  list.add(stem + names.moe->stacked_down, shape.expert_type.value_or(finer), {experts, hidden, width});
}

std::string known_shapes() {
  std::string names;
  for (const ModelShape& shape : kShapes) names += std::string(names.empty() ? "" : ", ") + shape.name;
  return names;
}

ModelConfig shape_config(const ModelShape& shape, std::int32_t layers) {
  ModelConfig config;
  config.arch = shape.arch;
  config.vocab_size = shape.vocab;
  config.hidden_size = shape.hidden;
  config.heads = shape.heads;
  config.kv_heads = shape.kv_heads;
  config.head_dim = shape.head_dim;
  config.max_positions = shape.positions;
  config.rms_norm_eps = shape.rms_norm_eps;
  config.qkv_bias = shape.attention_biases;
  config.output_bias = shape.attention_biases;
  config.router.experts = shape.experts;
  config.router.top_k = shape.top_k;
  config.router.weights = shape.normalized_topk ? RouterWeights::kRenormalize : RouterWeights::kRaw;
  config.names = &kGgufNames;
  config.ropes = {{.theta = shape.rope_theta, .rotary_dim = shape.head_dim}};
  for (std::int32_t i = 0; i < layers; ++i) {
    config.layers.push_back(
        {.sparse = true, .ffn_intermediate = shape.expert_ffn, .window = i % 2 == 0 ? shape.even_window : 0});
  }
  return config;
}

}  // namespace

std::span<const ModelShape> all_shapes() {
  return kShapes;
}

const ModelShape* find_shape(std::string_view name) {
  for (const ModelShape& shape : kShapes) {
    if (name == shape.name) return &shape;
  }
  return nullptr;
}

Result<ShapeFormat> shape_format(std::string_view word) {
  if (word == "none") return ShapeFormat{};
  if (word == "q4_k_m") return ShapeFormat{DType::kQ4_K, DType::kQ6_K, DType::kQ6_K};
  std::string known = "none, q4_k_m";
  for (int f = 0; f < kWeightFormats; ++f) {
    const DType type = format_dtype(static_cast<WeightFormat>(f));
    known += std::string(", ") + dtype_name(type);
    if (word != dtype_name(type)) continue;
    const bool small = is_quantized(dtype_format(type)) && type != DType::kQ8_0;
    const DType table = type == DType::kFp8 ? DType::kBF16 : type;  // as such checkpoints have it
    return ShapeFormat{type, type, small ? DType::kQ6_K : table};
  }
  return invalid_argument("a shape has no quantization " + std::string(word) + "; known: " + known, "quantization");
}

Result<OpenModel> open_shape(const ModelShape& shape, std::int32_t layers, const ShapeFormat& format,
                             bool router_biases) {
  if (layers < 0 || layers > kMostLayers) {
    return invalid_argument("must lie between 0 (the shape's own) and " + std::to_string(kMostLayers), "layers");
  }
  OpenModel model;
  model.config = shape_config(shape, layers == 0 ? shape.layers : layers);
  const WeightNames& names = *model.config.names;
  TensorList list;
  list.add(names.embedding, format.head, {shape.vocab, shape.hidden});
  for (std::size_t i = 0; i < model.config.layers.size(); ++i) {
    add_layer(shape, model.config, static_cast<std::int32_t>(i), format, router_biases, list);
  }
  list.add(names.final_norm, DType::kF32, {shape.hidden});
  list.add(names.lm_head, format.head, {shape.vocab, shape.hidden});
  GgufModel file;
  file.files.push_back(std::make_unique<ShapeFile>(std::string("shape:") + shape.name));
  file.tensors.push_back(list.take());
  ASSIGN_OR_RETURN(model.index, TensorIndex::from_gguf(file));
  model.source = {ModelKind::kGguf, std::string("shape:") + shape.name};
  return model;
}

Result<OpenModel> open_shape(std::string_view name, std::int32_t layers, std::string_view quantization,
                             bool router_biases) {
  const ModelShape* shape = find_shape(name);
  if (shape == nullptr) {
    return invalid_argument("there is no shape " + std::string(name) + "; known: " + known_shapes(), "shape");
  }
  ASSIGN_OR_RETURN(const ShapeFormat format, shape_format(quantization));
  return open_shape(*shape, layers, format, router_biases);
}

}  // namespace foregate
