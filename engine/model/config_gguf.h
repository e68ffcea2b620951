// The ModelConfig of a GGUF model: from its metadata and, where that is silent, from the tensors it has.
// Keys: github.com/ggml-org/ggml, docs/gguf.md.
#pragma once

#include <string>

#include "engine/base/status.h"
#include "engine/io/gguf.h"
#include "engine/model/model_config.h"
#include "engine/weights/tensor_index.h"

namespace foregate {

// `index` has the weights, under the names of the file or of a pack of it; `numbers` the tensors that are part of the
// configuration (is_gguf_config_tensor()): the same index, unless the model is packed. `path` names the file in errors,
// which name the key (Status::field): kInvalidArgument for a value out of bounds, kUnimplemented for an architecture,
// key or tensor that means something we do not compute.
Result<ModelConfig> read_gguf_config(const GgufHeader& header, const TensorIndex& index, const TensorIndex& numbers,
                                     const std::string& path);

}  // namespace foregate
