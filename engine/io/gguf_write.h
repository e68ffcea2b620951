// Writes a small GGUF file, version 3: the metadata of a model, and the few tensors that are part of its configuration.
// What a packed GGUF model keeps of its source. Pure; any thread.
#pragma once

#include <string>
#include <vector>

#include "engine/io/gguf.h"

namespace foregate {

// One F32 tensor and its values.
struct GgufNumbers {
  std::string name;
  std::vector<float> values;
};

// The bytes of the file. Keys of a split (split.no, split.count, split.tensors.count) are left out, since it is one
// file; all others are as in `header`, whose own tensors are not written. read_gguf_header() gives the same values
// back.
std::string write_gguf_metadata(const GgufHeader& header, const std::vector<GgufNumbers>& tensors);

}  // namespace foregate
