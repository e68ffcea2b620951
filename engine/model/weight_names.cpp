#include "engine/model/weight_names.h"

namespace foregate {

const WeightNames kHuggingFaceNames = {
    .embedding = "model.embed_tokens.weight",
    .final_norm = "model.norm.weight",
    .lm_head = "lm_head.weight",
    .layer = "model.layers.{}.",
    .attention_norm = "input_layernorm.weight",
    .ffn_norm = "post_attention_layernorm.weight",
    .q = "self_attn.q_proj",
    .k = "self_attn.k_proj",
    .v = "self_attn.v_proj",
    .o = "self_attn.o_proj",
    .q_norm = "self_attn.q_norm.weight",
    .k_norm = "self_attn.k_norm.weight",
    .dense = {.gate = "mlp.gate_proj.weight", .up = "mlp.up_proj.weight", .down = "mlp.down_proj.weight"},
    .shared = {.gate = "mlp.shared_expert.gate_proj.weight",
               .up = "mlp.shared_expert.up_proj.weight",
               .down = "mlp.shared_expert.down_proj.weight"},
    .shared_router = "mlp.shared_expert_gate.weight",
    .nextn = {.token_norm = "enorm.weight",
              .hidden_norm = "hnorm.weight",
              .join = "eh_proj.weight",
              .head_norm = "shared_head.norm.weight",
              .embedding = "embed_tokens.weight",
              .lm_head = "shared_head.head.weight"},
};

std::string numbered(const char* pattern, std::int64_t number) {
  std::string name = pattern;
  return name.replace(name.find("{}"), 2, std::to_string(number));
}

}  // namespace foregate
