// ggml's tensor types by number: name, block and, where the engine computes with them, our DType.
// Numbers and block sizes: github.com/ggml-org/ggml, docs/gguf.md and ggml-common.h.
#pragma once

#include <cstdint>
#include <optional>

#include "kernels/api/dtype.h"

namespace foregate {

struct GgufTensorType {
  std::uint32_t number;
  const char* name;
  int block_elements;
  int block_bytes;
  std::optional<DType> dtype;
};

// Null for numbers that no released format gives a meaning.
const GgufTensorType* find_gguf_tensor_type(std::uint32_t number);

}  // namespace foregate
