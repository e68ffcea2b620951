// Working memory of one step, taken once at load for the largest batch: steps allocate nothing.
// Owned by the transformer, used by one forward() at a time.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/base/status.h"
#include "engine/model/model_config.h"
#include "kernels/api/args_moe.h"
#include "kernels/api/device.h"
#include "kernels/api/view.h"

namespace foregate {

// Where a layer's rows go: [R, top_k] each, by falling score. Ops write weights and ids.
struct ExpertRoute {
  float* weights = nullptr;
  std::int32_t* ids = nullptr;
  // The same for the host, once the layer is routed.
  float* host_weights = nullptr;
  std::int32_t* host_ids = nullptr;
};

struct StepScratch {
  static Result<StepScratch> create(const ModelConfig& config, std::int32_t max_rows, Device& device);
  static std::int64_t bytes_for(const ModelConfig& config, std::int32_t max_rows);  // of device memory

  // For a part of the rows of a step: host arrays of its own for at most `max_rows`, and the memory of another scratch,
  // which the host sees, from a row on.
  void make_host_arrays(const ModelConfig& config, std::int32_t max_rows);
  void show(const ModelConfig& config, const StepScratch& whole, std::int64_t first_row);

  // Device memory; R = max_rows, rows are dense.
  float* hidden = nullptr;                   // [R, hidden] the residual stream
  float* delta = nullptr;                    // [R, hidden] what the last block adds to it
  float* normed = nullptr;                   // [R, hidden] the next block's input
  float* q = nullptr;                        // [R, heads * head_dim]
  float* k = nullptr;                        // [R, kv_heads * head_dim]
  float* v = nullptr;                        // [R, kv_heads * head_dim]
  float* attended = nullptr;                 // [R, heads * head_dim]
  float* router_logits = nullptr;            // [R, experts]
  ExpertRoute route;                         // of the layer that runs
  ExpertRoute next_route;                    // of the one after it, where that is known before (routing.h)
  float* expert_out = nullptr;               // [R * top_k, hidden]
  std::int32_t* distinct_experts = nullptr;  // [layers] that a step met, where the device counts them
  float* ffn_inner = nullptr;                // [max over layers of assignments * intermediate]
  float* shared_out = nullptr;               // [R, hidden]
  float* shared_gate = nullptr;              // [R, 1]
  std::vector<float*> cos, sin;              // per rope of the config: [R, rotary_dim / 2]

  // Host arrays of the expert groups.
  std::vector<std::int32_t> identity;            // 0 .. R-1
  std::vector<std::int32_t> x_rows;              // [R * top_k] token rows, grouped by expert
  std::vector<std::int32_t> out_rows;            // [R * top_k] row * top_k + slot, grouped by expert
  std::vector<std::int32_t> group_ends;          // [experts]
  std::vector<ExpertGroup> groups;               // at most one per expert
  std::vector<std::int32_t> group_experts;       // whose group it is, ascending
  std::vector<std::int32_t> group_rows;          // its rows
  std::vector<std::int32_t> group_decode_rows;   // of them, in a step with prompts: of sequences that decode
  std::vector<std::int32_t> group_drafted_rows;  // of them, in a step with drafts: of drafts
  std::vector<ExpertGroup> arrived_groups;       // those whose weights came together

  // Of both routes, when the host does not see device memory.
  std::vector<std::int32_t> host_ids[2];
  std::vector<float> host_weights[2];
  std::vector<float> rope_values;  // cos or sin of one rope on their way to the device

  Memory memory;
  std::int64_t bytes() const { return static_cast<std::int64_t>(memory.bytes()); }

 private:
  void show_routes(const Device& device, std::size_t assignments);
};

}  // namespace foregate
