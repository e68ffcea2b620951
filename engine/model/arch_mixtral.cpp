// Mixtral (arXiv 2401.04088): grouped-query attention, router weights normalized over the chosen.
#include "engine/model/arch.h"

namespace foregate {

const ArchTable kArchMixtral = {
    .model_type = "mixtral",
    .class_name = "MixtralForCausalLM",
    .sparse = true,
    .expert_width_key = "intermediate_size",
    .norm_topk = NormTopk::kAlways,
    .window = WindowRule::kAllLayers,
    .rope_theta_default = 1e6,
    .rms_norm_eps_default = 1e-5,
    .moe = {{.router = "block_sparse_moe.gate.weight",
             .gate = "block_sparse_moe.experts.{}.w1.weight",
             .up = "block_sparse_moe.experts.{}.w3.weight",
             .down = "block_sparse_moe.experts.{}.w2.weight"},
            {.router = "mlp.gate.weight",
             .gate = "mlp.experts.{}.w1.weight",
             .up = "mlp.experts.{}.w3.weight",
             .down = "mlp.experts.{}.w2.weight",
             .fused_gate_up = "mlp.experts.gate_up_proj",
             .fused_down = "mlp.experts.down_proj"}},
};

}  // namespace foregate
