// Architectures as data: which config keys they use, how they differ, and the names of their
// tensors. No math here; the layer loop in transformer.cpp is written once for all rows.
// {} in a name stands for the expert's number.
#pragma once

#include <span>
#include <string_view>

namespace foregate {

enum class QkNorm { kNone, kPerHead, kFullWidth };
enum class NormTopk { kAlways, kFromConfig };  // chosen router weights sum to one
enum class WindowRule {
  kUnsupported,     // sliding_window must be absent or null
  kAllLayers,       // sliding_window, when not null
  kAllWhenEnabled,  // sliding_window when use_sliding_window
  kUpperLayers,     // layer_types, or layers >= max_window_layers when use_sliding_window
  kEvenLower,       // layer_types, or even layers < max_window_layers when use_sliding_window
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
  bool sparse = false;                            // has experts
  const char* expert_width_key = nullptr;         // intermediate size of one expert
  bool dense_layers_from_config = false;          // decoder_sparse_step and mlp_only_layers
  const char* shared_expert_width_key = nullptr;  // null: no shared expert
  NormTopk norm_topk = NormTopk::kFromConfig;
  WindowRule window = WindowRule::kUnsupported;
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

std::span<const ArchTable* const> all_archs();

// By class name, or by model type when `class_name` is empty; null when unknown.
const ArchTable* find_arch(std::string_view class_name, std::string_view model_type);

}  // namespace foregate
