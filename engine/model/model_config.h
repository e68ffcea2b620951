// What a model's config.json and generation_config.json, or the metadata of its GGUF file, say, every
// bound checked. Plain data, immutable once read; no key of the files is looked at elsewhere.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/api/types.h"
#include "engine/base/status.h"
#include "engine/io/file.h"
#include "engine/model/arch.h"
#include "engine/model/quantization_config.h"
#include "engine/model/rope.h"
#include "engine/model/weight_names.h"
#include "kernels/api/args_moe.h"

namespace foregate {

struct LayerConfig {
  bool sparse = false;                // router and experts; otherwise one dense FFN
  std::int32_t ffn_intermediate = 0;  // of each expert, or of the dense FFN
  std::int32_t window = 0;            // > 0: attention keeps the last `window` positions
  std::int32_t rope = 0;              // index into ModelConfig::ropes, or -1: no rope
};

// Sampling defaults of generation_config.json; a field that the file lacks stays empty.
struct SamplingDefaults {
  std::optional<bool> do_sample;
  std::optional<float> temperature;
  std::optional<std::int32_t> top_k;
  std::optional<float> top_p;
  std::optional<float> min_p;
  std::optional<float> repetition_penalty;
};

struct ModelConfig {
  const ArchTable* arch = nullptr;
  std::int32_t vocab_size = 0;
  std::int32_t head_rows = 0;  // tokens that logits are computed of, where cut_head() left some out; 0: all
  std::int32_t logits() const { return head_rows > 0 ? head_rows : vocab_size; }
  std::int32_t hidden_size = 0;
  std::int32_t heads = 0;
  std::int32_t kv_heads = 0;  // divides heads
  std::int32_t head_dim = 0;  // even
  std::int32_t max_positions = 0;
  std::int32_t shared_intermediate = 0;  // 0: no shared expert
  float rms_norm_eps = 0.0f;
  Activation activation = Activation::kSilu;
  bool qkv_bias = false;
  bool output_bias = false;
  bool tied_embeddings = false;
  RouterRule router;  // experts == 0: a dense model
  std::vector<RopeConfig> ropes;
  std::vector<LayerConfig> layers;
  // num_nextn_predict_layers: layers behind the others that predict the token after the next (nextn.h).
  std::vector<LayerConfig> nextn;
  std::int32_t first_layer = 0;  // of the file is layers[0]; above 0: the layers are NextN ones
  const WeightNames* names = &kHuggingFaceNames;
  // In each head of q and k the rows of the file are 0, d/2, 1, d/2 + 1, ...; the loader puts them in order.
  bool paired_rope_rows = false;
  std::string dtype;  // as written, for display
  QuantizationConfig quantization;
  std::optional<Token> bos;
  std::vector<Token> eos;  // any of them ends a sequence
  SamplingDefaults sampling;

  std::int32_t q_width() const { return heads * head_dim; }
  std::int32_t kv_width() const { return kv_heads * head_dim; }
  std::int32_t widest_ffn() const;  // over layers, 0 when there are none
};

// Reads `dir`/config.json and, where present, generation_config.json. kNotFound without a
// config.json; kInvalidArgument for a value out of bounds and kUnimplemented for a feature that is
// understood but not supported: both name the file and the key (Status::field).
Result<ModelConfig> read_model_config(const FileSystem& files, const std::string& dir);

}  // namespace foregate
