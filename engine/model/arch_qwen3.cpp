// Qwen3, dense (arXiv 2505.09388): the draft models.
#include "engine/model/arch.h"

namespace foregate {

const ArchTable kArchQwen3 = {
    .model_type = "qwen3",
    .class_name = "Qwen3ForCausalLM",
    .qk_norm = QkNorm::kPerHead,
    .qkv_bias_key = "attention_bias",
    .output_bias_follows_qkv = true,
    .window = WindowRule::kUpperLayers,
    .head_dim_default = 128,
};

}  // namespace foregate
