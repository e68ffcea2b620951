// What llama.cpp calls the architectures and tensors that we know, as data.
// Names: github.com/ggml-org/llama.cpp, gguf-py/gguf/constants.py.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "engine/model/arch.h"
#include "engine/model/weight_names.h"

namespace foregate {

struct GgufArch {
  const char* name = nullptr;  // general.architecture, and the first part of the keys
  const ArchTable* arch = nullptr;
  // The converter reorders the rows of q and k so that the two of a rope pair are neighbours.
  bool paired_rope_rows = false;
  const char* expert_width_key = nullptr;  // after "<name>."; null: a dense model
  bool normalize_topk = false;             // where expert_weights_norm is missing
  // Where the file has a window: layers of a multiple of it see all and have no rope, the others have both. 0: all
  // layers have both.
  std::int32_t window_period = 0;
};

std::span<const GgufArch> all_gguf_archs();

// Null when not known.
const GgufArch* find_gguf_arch(std::string_view name);

// The divisors of rope's frequencies.
inline constexpr const char* kGgufRopeDivisors = "rope_freqs.weight";

// Whether a tensor of this name is part of the configuration, not a weight.
bool is_gguf_config_tensor(std::string_view name);

// Whether the transformer makes use of a tensor of this name.
bool is_known_gguf_tensor(std::string_view name);

}  // namespace foregate
