// What --speculative-config says: a JSON object with the keys that vLLM takes, and `adaptive`. Anything else is refused
// by its name.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "engine/base/status.h"
#include "engine/spec/draft_tree.h"
#include "engine/spec/suffix_drafter.h"

namespace foregate {

enum class SpecMethod : std::uint8_t { kOff, kNgram, kSuffix, kDraftModel, kSelf, kMtp };

struct SpecConfig {
  SpecMethod method = SpecMethod::kOff;
  std::string model;             // path of the draft model; mtp: of the NextN layer, empty: the model's own
  std::string quantization;      // of its weights at load; empty: q8_0, unless it is packed
  std::string token_map;         // speculative_token_map: a file (token_map.h); "none"; empty: the model's own
  std::int32_t num_experts = 0;  // self: of the model's, to a row; our own key
  bool adaptive = true;          // fewer or none where that is measured to be faster; our own key
  std::int32_t num_speculative_tokens = 4;  // drafted for one sequence in one step, at most; suffix: its depth
  std::int32_t prompt_lookup_min = 3;       // tokens that must repeat before a lookup drafts
  std::int32_t prompt_lookup_max = 5;       // tokens that are looked for
  SuffixOptions suffix;
  TreeShape tree;  // speculative_token_tree, where it branches; num_speculative_tokens is its depth then
};

const char* spec_method_name(SpecMethod method);

// Empty text: kOff. kInvalidArgument, field speculative_config, that names the key.
Result<SpecConfig> parse_spec_config(std::string_view json);

}  // namespace foregate
