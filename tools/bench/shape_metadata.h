// The GGUF metadata of a shape: what a file of the model would say of its configuration, and a vocabulary of its size.
// Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/io/gguf.h"
#include "tools/bench/planted_routing.h"
#include "tools/bench/shapes.h"

namespace foregate {

// A byte-level BPE of `size` tokens, as tests/bench/make_shape_gguf.py has it: the bytes of ASCII, then two, three and
// four letters with or without a leading space, then the end of text. So every token is whole UTF-8; text beyond ASCII
// has no tokens.
struct ShapeVocab {
  std::vector<std::string> tokens;
  std::vector<std::string> merges;
};
ShapeVocab shape_vocab(std::int32_t size);

// How a shape's weights were made; kept in keys of its own.
struct ShapeMaking {
  std::string quantization;
  RoutingPlan routing;
};

// kUnimplemented (field shape) for an architecture that is not read from GGUF files.
Result<GgufHeader> shape_metadata(const ModelShape& shape, const ModelConfig& config, const ShapeMaking& making);

}  // namespace foregate
