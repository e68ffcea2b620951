// SmallThinker (arXiv 2507.20984): the router reads the residual stream before attention, experts gate by relu, and
// layers by layout have rope and a window or neither.
#include "engine/model/arch.h"

namespace foregate {

const ArchTable kArchSmallThinker = {
    .model_type = "smallthinker",
    .class_name = "SmallThinkerForCausalLM",
    .sparse = true,
    .router_source = RouterSource::kLayerInput,
    .experts_key = "moe_num_primary_experts",
    .top_k_key = "moe_num_active_primary_experts",
    .expert_width_key = "moe_ffn_hidden_size",
    .softmax_key = "moe_primary_router_apply_softmax",
    .window = WindowRule::kLayout,
    .rope_layout = true,
    .activation = Activation::kRelu,
    // Of the first published form of the config.
    .fixed = {{"moe_enable_early_router", true}, {"moe_enable_secondary_experts", false}, {"use_qk_norm", false}},
    .rope_theta_default = 1e6,
    .moe = {{.router = "block_sparse_moe.primary_router.weight",
             .gate = "block_sparse_moe.experts.{}.gate.weight",
             .up = "block_sparse_moe.experts.{}.up.weight",
             .down = "block_sparse_moe.experts.{}.down.weight"}},
};

}  // namespace foregate
