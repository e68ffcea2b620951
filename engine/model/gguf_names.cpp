#include "engine/model/gguf_names.h"

#include <cctype>
#include <iterator>

namespace foregate {
namespace {

const MoeNames kGgufMoe = {
    .router = "ffn_gate_inp.weight",
    .router_bias = "ffn_gate_inp.bias",
    // One tensor per expert: files of early 2024 and before.
    .gate = "ffn_gate.{}.weight",
    .up = "ffn_up.{}.weight",
    .down = "ffn_down.{}.weight",
    .stacked_gate = "ffn_gate_exps.weight",
    .stacked_up = "ffn_up_exps.weight",
    .stacked_down = "ffn_down_exps.weight",
};

const GgufArch kArchs[] = {
    {.name = "olmoe", .arch = &kArchOlmoe, .expert_width_key = "feed_forward_length"},
    {.name = "qwen2moe", .arch = &kArchQwen2Moe, .expert_width_key = "expert_feed_forward_length"},
    {.name = "qwen3moe",
     .arch = &kArchQwen3Moe,
     .expert_width_key = "expert_feed_forward_length",
     .normalize_topk = true},
    {.name = "qwen3", .arch = &kArchQwen3},
    {.name = "llama",
     .arch = &kArchMixtral,
     .paired_rope_rows = true,
     .expert_width_key = "feed_forward_length",
     .normalize_topk = true},
    {.name = "smallthinker",
     .arch = &kArchSmallThinker,
     .expert_width_key = "expert_feed_forward_length",
     .window_period = 4},
    // Not llama.cpp's: qwen3moe under the name of the other routing.
    {.name = "foregate_pregated_moe",
     .arch = &kArchPreGated,
     .expert_width_key = "expert_feed_forward_length",
     .normalize_topk = true},
};

// Under "blk.N.". {} stands for an expert's number.
constexpr std::string_view kLayerTensors[] = {
    "attn_norm.weight",      "attn_q.weight",       "attn_q.bias",           "attn_k.weight",
    "attn_k.bias",           "attn_v.weight",       "attn_v.bias",           "attn_output.weight",
    "attn_output.bias",      "attn_q_norm.weight",  "attn_k_norm.weight",    "ffn_norm.weight",
    "ffn_gate_inp.weight",   "ffn_gate_inp.bias",   "ffn_gate_exps.weight",  "ffn_up_exps.weight",
    "ffn_down_exps.weight",  "ffn_gate.{}.weight",  "ffn_up.{}.weight",      "ffn_down.{}.weight",
    "ffn_gate.weight",       "ffn_up.weight",       "ffn_down.weight",       "ffn_gate_inp_shexp.weight",
    "ffn_gate_shexp.weight", "ffn_up_shexp.weight", "ffn_down_shexp.weight",
};
constexpr std::string_view kOtherTensors[] = {"token_embd.weight", "output_norm.weight", "output.weight",
                                              kGgufRopeDivisors};

// A number at the start of `text` is cut off; false when there is none.
bool skip_number(std::string_view& text) {
  std::size_t digits = 0;
  while (digits < text.size() && std::isdigit(static_cast<unsigned char>(text[digits])) != 0) ++digits;
  text.remove_prefix(digits);
  return digits > 0;
}

bool matches(std::string_view pattern, std::string_view name) {
  const std::size_t hole = pattern.find("{}");
  if (hole == std::string_view::npos) return name == pattern;
  if (!name.starts_with(pattern.substr(0, hole))) return false;
  name.remove_prefix(hole);
  return skip_number(name) && name == pattern.substr(hole + 2);
}

}  // namespace

const WeightNames kGgufNames = {
    .embedding = "token_embd.weight",
    .final_norm = "output_norm.weight",
    .lm_head = "output.weight",
    .layer = "blk.{}.",
    .attention_norm = "attn_norm.weight",
    .ffn_norm = "ffn_norm.weight",
    .q = "attn_q",
    .k = "attn_k",
    .v = "attn_v",
    .o = "attn_output",
    .q_norm = "attn_q_norm.weight",
    .k_norm = "attn_k_norm.weight",
    .dense = {.gate = "ffn_gate.weight", .up = "ffn_up.weight", .down = "ffn_down.weight"},
    .shared = {.gate = "ffn_gate_shexp.weight", .up = "ffn_up_shexp.weight", .down = "ffn_down_shexp.weight"},
    .shared_router = "ffn_gate_inp_shexp.weight",
    .moe = &kGgufMoe,
};

std::span<const GgufArch> all_gguf_archs() {
  return kArchs;
}

const GgufArch* find_gguf_arch(std::string_view name) {
  for (const GgufArch& known : kArchs) {
    if (name == known.name) return &known;
  }
  return nullptr;
}

bool is_gguf_config_tensor(std::string_view name) {
  return name == kGgufRopeDivisors;
}

bool is_known_gguf_tensor(std::string_view name) {
  for (const std::string_view other : kOtherTensors) {
    if (name == other) return true;
  }
  if (!name.starts_with("blk.")) return false;
  name.remove_prefix(4);
  if (!skip_number(name) || !name.starts_with(".")) return false;
  name.remove_prefix(1);
  for (const std::string_view pattern : kLayerTensors) {
    if (matches(pattern, name)) return true;
  }
  return false;
}

}  // namespace foregate
