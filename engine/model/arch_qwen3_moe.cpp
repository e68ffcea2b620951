// Qwen3-MoE (arXiv 2505.09388): query and key normalized per head.
#include "engine/model/arch.h"

namespace foregate {

const ArchTable kArchQwen3Moe = {
    .model_type = "qwen3_moe",
    .class_name = "Qwen3MoeForCausalLM",
    .qk_norm = QkNorm::kPerHead,
    .qkv_bias_key = "attention_bias",
    .output_bias_follows_qkv = true,
    .sparse = true,
    .expert_width_key = "moe_intermediate_size",
    .dense_layers_from_config = true,
    .window = WindowRule::kAllWhenEnabled,
    .moe = {{.router = "mlp.gate.weight",
             .gate = "mlp.experts.{}.gate_proj.weight",
             .up = "mlp.experts.{}.up_proj.weight",
             .down = "mlp.experts.{}.down_proj.weight",
             .fused_gate_up = "mlp.experts.gate_up_proj",
             .fused_down = "mlp.experts.down_proj"}},
};

}  // namespace foregate
