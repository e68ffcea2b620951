// Foregate's own pre-gated form of Qwen3-MoE (after Pre-gated MoE, arXiv 2308.12066): the router of a layer reads the
// FFN input of the layer before, all else and all names are Qwen3-MoE's. models/demo-pregated is one.
#include "engine/model/arch.h"

namespace foregate {

const ArchTable kArchPreGated = {
    .model_type = "foregate_pregated_moe",
    .class_name = "ForegatePreGatedMoeForCausalLM",
    .qk_norm = QkNorm::kPerHead,
    .qkv_bias_key = "attention_bias",
    .output_bias_follows_qkv = true,
    .sparse = true,
    .router_source = RouterSource::kPreviousFfnInput,
    .expert_width_key = "moe_intermediate_size",
    .dense_layers_from_config = true,
    .window = WindowRule::kAllWhenEnabled,
    .moe = {{.router = "mlp.gate.weight",
             .gate = "mlp.experts.{}.gate_proj.weight",
             .up = "mlp.experts.{}.up_proj.weight",
             .down = "mlp.experts.{}.down_proj.weight"}},
};

}  // namespace foregate
