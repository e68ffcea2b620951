// Random GGUF models made in memory for tests: any architecture, any tensor type, any size.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/api/dtype.h"
#include "tests/engine/weights/gguf_builder.h"

namespace foregate {

struct MadeModel {
  std::string arch = "qwen3moe";
  std::uint32_t layers = 2;
  std::uint32_t vocab = 96;
  std::uint32_t hidden = 32;
  std::uint32_t heads = 4;
  std::uint32_t kv_heads = 2;
  std::uint32_t head_dim = 8;
  std::uint32_t width = 32;  // of an expert, a shared expert and a dense FFN
  std::uint32_t experts = 4;
  std::uint32_t top_k = 2;
  DType matrices = DType::kF32;
  DType down = DType::kF32;  // of the down projections and the head
  bool head = true;          // false: tied embeddings
  // The values of the same blocks as F32 tensors: what the file means, without quantized arithmetic.
  bool dequantized = false;
  std::uint32_t seed = 1;
};

// All keys and tensors of the model; without text.
GgufBuilder made_gguf(const MadeModel& model);

// The same with a vocabulary of `vocab` tokens, the printable ASCII characters first, and a chat template.
void add_text(GgufBuilder& file, std::uint32_t vocab);

// Writes the file under the test's temporary directory and gives its path.
std::string write_gguf(const GgufBuilder& file, const std::string& name);

}  // namespace foregate
