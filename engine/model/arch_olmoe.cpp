// OLMoE (arXiv 2409.02060): query and key normalized over their full width, no biases by default.
#include "engine/model/arch.h"

namespace foregate {

const ArchTable kArchOlmoe = {
    .model_type = "olmoe",
    .class_name = "OlmoeForCausalLM",
    .qk_norm = QkNorm::kFullWidth,
    .qkv_bias_key = "attention_bias",
    .output_bias_follows_qkv = true,
    .sparse = true,
    .expert_width_key = "intermediate_size",
    .rms_norm_eps_default = 1e-5,
    .moe = {{.router = "mlp.gate.weight",
             .gate = "mlp.experts.{}.gate_proj.weight",
             .up = "mlp.experts.{}.up_proj.weight",
             .down = "mlp.experts.{}.down_proj.weight",
             .fused_gate_up = "mlp.experts.gate_up_proj",
             .fused_down = "mlp.experts.down_proj"}},
};

}  // namespace foregate
