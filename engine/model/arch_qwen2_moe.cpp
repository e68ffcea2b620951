// Qwen1.5-MoE and Qwen2-MoE (arXiv 2407.10671): biased q, k, v and a shared expert behind a
// sigmoid gate.
#include "engine/model/arch.h"

namespace foregate {

const ArchTable kArchQwen2Moe = {
    .model_type = "qwen2_moe",
    .class_name = "Qwen2MoeForCausalLM",
    .qkv_bias_key = "qkv_bias",
    .qkv_bias_default = true,
    .sparse = true,
    .expert_width_key = "moe_intermediate_size",
    .dense_layers_from_config = true,
    .shared_expert_width_key = "shared_expert_intermediate_size",
    .window = WindowRule::kEvenLower,
    .moe = {{.router = "mlp.gate.weight",
             .gate = "mlp.experts.{}.gate_proj.weight",
             .up = "mlp.experts.{}.up_proj.weight",
             .down = "mlp.experts.{}.down_proj.weight",
             .fused_gate_up = "mlp.experts.gate_up_proj",
             .fused_down = "mlp.experts.down_proj"}},
};

}  // namespace foregate
