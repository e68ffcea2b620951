// Rotary settings of a GGUF model: rope.* keys and the rope_freqs.weight tensor. Part of reading its ModelConfig.
#pragma once

#include "engine/base/status.h"
#include "engine/model/rope.h"
#include "engine/weights/tensor_index.h"

namespace foregate {

class MetadataReader;
struct ModelConfig;

// `keys` reads the architecture's keys; `model` has head_dim and max_positions already.
Result<RopeConfig> read_gguf_rope(MetadataReader& keys, const TensorIndex& index, const ModelConfig& model);

}  // namespace foregate
