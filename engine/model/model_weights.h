// The packed weights of a model as plain structs: what each layer holds, on one screen. Filled by
// the loader, const afterwards. Pointers lead into `memory`.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/experts/dense_window.h"
#include "engine/experts/device_tier.h"
#include "engine/experts/expert_store.h"
#include "engine/experts/resident_experts.h"
#include "engine/model/cost_keeper.h"
#include "engine/model/router.h"
#include "kernels/api/args_moe.h"
#include "kernels/api/device.h"
#include "kernels/api/quant.h"

namespace foregate {

// A projection with an optional bias [rows].
struct LinearWeights {
  PackedWeight weight;
  const float* bias = nullptr;
};

struct AttentionWeights {
  LinearWeights q;                // [heads * head_dim, hidden]
  LinearWeights k;                // [kv_heads * head_dim, hidden]
  LinearWeights v;                // [kv_heads * head_dim, hidden]
  LinearWeights o;                // [hidden, heads * head_dim]
  const float* q_norm = nullptr;  // [head_dim] or [heads * head_dim], see ArchTable::qk_norm
  const float* k_norm = nullptr;
};

struct LayerWeights {
  const float* attention_norm = nullptr;  // [hidden]
  const float* ffn_norm = nullptr;        // [hidden]
  AttentionWeights attention;
  ExpertWeights dense;       // dense layers
  Router router;             // sparse layers; their experts lie in ModelWeights::experts
  ExpertWeights shared;      // gate.data == nullptr: no shared expert
  PackedWeight shared_gate;  // [1, hidden]
};

// How a NextN layer joins a token's embedding and the hidden state of the row before it.
struct NextnWeights {
  const float* token_norm = nullptr;   // [hidden]
  const float* hidden_norm = nullptr;  // [hidden]
  PackedWeight join;                   // [hidden, 2 * hidden], the token's half first; no data: not a NextN layer
};

struct ModelWeights {
  PackedWeight embedding;  // [vocab, hidden]
  PackedWeight lm_head;    // [vocab, hidden]; the same copy as embedding when tied
  const float* final_norm = nullptr;
  NextnWeights nextn;
  std::vector<LayerWeights> layers;
  ResidentExperts experts;                    // empty when `store` has them
  std::vector<DeviceExperts> device_experts;  // [layers] for devices that route by themselves; empty: none
  std::unique_ptr<ExpertStore> store;         // null: all experts are in `memory`
  std::unique_ptr<DeviceTier> tier;           // in front of the store; null: the store's slots are the device's memory
  std::unique_ptr<DenseWindow> dense;         // null: all other weights are in `memory`
  std::unique_ptr<CostKeeper> costs;          // of the store's experts; null: not known
  std::vector<Memory> memory;
  std::string how_loaded;   // a few words for the status page
  bool page_cache = false;  // a packed model whose files could not be read past it

  // Packed bytes that every step reads: all but the embedding table and the experts; the table
  // counts when it is the lm head too.
  std::int64_t dense_step_bytes = 0;
  std::vector<std::int64_t> expert_bytes;  // per layer: one expert
};

}  // namespace foregate
