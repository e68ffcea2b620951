// Models by their dimensions: what `foregate bench --shape` makes without a file. A shape is a row of a table; its
// tensors carry the names of a GGUF file, so that the engine's own weight plan lays them out. Pure data, any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "engine/base/status.h"
#include "engine/model/arch.h"
#include "engine/model/model_source.h"
#include "kernels/api/dtype.h"

namespace foregate {

struct ModelShape {
  const char* name = nullptr;
  const ArchTable* arch = nullptr;
  std::int32_t layers = 0;
  std::int32_t hidden = 0;
  std::int32_t heads = 0;
  std::int32_t kv_heads = 0;
  std::int32_t head_dim = 0;
  std::int32_t experts = 0;
  std::int32_t top_k = 0;
  std::int32_t expert_ffn = 0;
  std::int32_t vocab = 0;
  std::int32_t positions = 0;
  double rope_theta = 1e4;
  float rms_norm_eps = 1e-5f;
  bool normalized_topk = false;
  bool attention_biases = false;
  std::int32_t even_window = 0;           // > 0: attention of even layers keeps so many positions
  std::optional<DType> expert_type = {};  // whatever the quantization: the type the model is published in
  const char* note = "";                  // what the real model computes and this one does not
};

std::span<const ModelShape> all_shapes();
const ModelShape* find_shape(std::string_view name);  // null when unknown

// "none" (the scalar type models are published in), a type of weights ("f32", "q4_0", "mxfp4", ...) or "q4_k_m", which
// mixes q6_k into q4_k as GGUF files of that name do. kInvalidArgument for another word, with those known.
struct ShapeFormat {
  DType base = DType::kBF16;   // of most matrices
  DType finer = DType::kBF16;  // of v and down projections in some layers
  DType head = DType::kBF16;
};
Result<ShapeFormat> shape_format(std::string_view word);

// The model of a shape as if its file had been opened: configuration and tensors, which have no bytes. `layers` 0 takes
// the shape's own number; `router_biases` gives routers the biases that skew is planted in. A matrix whose rows do not
// fill the blocks of its type is q8_0.
Result<OpenModel> open_shape(const ModelShape& shape, std::int32_t layers, const ShapeFormat& format,
                             bool router_biases = false);
// By words. kInvalidArgument (field shape) for an unknown name, with those known.
Result<OpenModel> open_shape(std::string_view name, std::int32_t layers, std::string_view quantization,
                             bool router_biases);

}  // namespace foregate
