// Architectures as data: which config keys they use, how they differ, and the names of their
// tensors. No math here; the layer loop in transformer.cpp is written once for all rows.
// {} in a name stands for the expert's number.
#pragma once

#include <span>
#include <string_view>

#include "kernels/api/args_moe.h"

namespace foregate {

enum class QkNorm { kNone, kPerHead, kFullWidth };
// What a layer's router reads. Where it is earlier than the FFN's input, the experts are certain before the FFN begins.
enum class RouterSource {
  kFfnInput,          // what the experts read
  kLayerInput,        // the residual stream before the layer's attention, not normed
  kPreviousFfnInput,  // the FFN input of the layer before; the first layer reads its own
};
enum class NormTopk { kAlways, kFromConfig };  // chosen router weights sum to one
enum class WindowRule {
  kUnsupported,     // sliding_window must be absent or null
  kAllLayers,       // sliding_window, when not null
  kAllWhenEnabled,  // sliding_window when use_sliding_window
  kUpperLayers,     // layer_types, or layers >= max_window_layers when use_sliding_window
  kEvenLower,       // layer_types, or even layers < max_window_layers when use_sliding_window
  kLayout,          // sliding_window_size in layers whose sliding_window_layout is 1
};

// A flag of the config that changes what is computed: where present it must have this value.
struct FixedFlag {
  const char* key = nullptr;
  bool value = false;
};

// Names under the layer's stem of one layer's MoE block. A null name: the tensor does not exist.
struct MoeNames {
  const char* router = nullptr;         // [experts, hidden]
  const char* router_bias = nullptr;    // [experts], added to the router's logits; a layer may lack it
  const char* gate = nullptr;           // per expert [intermediate, hidden]
  const char* up = nullptr;             // per expert [intermediate, hidden]
  const char* down = nullptr;           // per expert [hidden, intermediate]
  const char* fused_gate_up = nullptr;  // [experts, 2 * intermediate, hidden], gate rows first
  const char* fused_down = nullptr;     // [experts, hidden, intermediate]
  const char* stacked_gate = nullptr;   // [experts, intermediate, hidden]
  const char* stacked_up = nullptr;     // [experts, intermediate, hidden]
  const char* stacked_down = nullptr;   // [experts, hidden, intermediate]
};

struct ArchTable {
  const char* model_type = nullptr;  // config.json model_type
  const char* class_name = nullptr;  // config.json architectures[0]
  QkNorm qk_norm = QkNorm::kNone;
  const char* qkv_bias_key = nullptr;  // null: no bias
  bool qkv_bias_default = false;
  bool output_bias_follows_qkv = false;
  bool sparse = false;  // has experts
  RouterSource router_source = RouterSource::kFfnInput;
  const char* experts_key = nullptr;  // null: num_experts or num_local_experts
  const char* top_k_key = "num_experts_per_tok";
  const char* expert_width_key = nullptr;  // intermediate size of one expert
  // Null: weights are the softmax over all experts. Else of the chosen alone: their softmax where this is true, their
  // sigmoids in the share of their sum where not.
  const char* softmax_key = nullptr;
  bool dense_layers_from_config = false;          // decoder_sparse_step and mlp_only_layers
  const char* shared_expert_width_key = nullptr;  // null: no shared expert
  NormTopk norm_topk = NormTopk::kFromConfig;
  WindowRule window = WindowRule::kUnsupported;
  bool rope_layout = false;                   // rope in layers whose rope_layout is 1 alone
  Activation activation = Activation::kSilu;  // where hidden_act is missing, and of GGUF files
  FixedFlag fixed[4] = {};
  int head_dim_default = 0;  // 0: hidden_size / num_attention_heads
  double rope_theta_default = 10000.0;
  double rms_norm_eps_default = 1e-6;
  // Two spellings of the MoE tensors; the first whose router exists is taken.
  MoeNames moe[2] = {};
};

extern const ArchTable kArchMixtral;
extern const ArchTable kArchOlmoe;
extern const ArchTable kArchQwen2Moe;
extern const ArchTable kArchQwen3;
extern const ArchTable kArchQwen3Moe;
extern const ArchTable kArchPreGated;
extern const ArchTable kArchSmallThinker;

std::span<const ArchTable* const> all_archs();

// By class name, or by model type when `class_name` is empty; null when unknown.
const ArchTable* find_arch(std::string_view class_name, std::string_view model_type);

}  // namespace foregate
