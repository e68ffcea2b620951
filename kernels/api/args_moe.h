// Arguments of the Mixture-of-Experts ops: router top-k, expert FFN, combine.
#pragma once

#include <cstdint>

#include "kernels/api/quant.h"
#include "kernels/api/view.h"

namespace foregate {

enum class RouterScore : std::uint8_t { kSoftmax, kSigmoid, kSqrtSoftplus, kIdentity };
// kSigmoidOfSelected: the sigmoids of their logits, normalized. With kIdentity it ranks as kSigmoid does where that is
// not saturated, and by the logits where it is.
enum class RouterWeights : std::uint8_t { kRaw, kRenormalize, kSoftmaxOfSelected, kSigmoidOfSelected };
enum class GroupRule : std::uint8_t { kMax, kTopTwoSum };
enum class Activation : std::uint8_t { kSilu, kGelu, kGeluTanh, kRelu };

// A router as data: score the logits, choose top_k by score + selection_bias inside the best
// groups, weigh the chosen. Ties go to the lower expert id. ids[t] is ordered by falling choice
// score. Everything in f32.
struct RouterRule {
  RouterScore score = RouterScore::kSoftmax;
  RouterWeights weights = RouterWeights::kRenormalize;
  GroupRule group_rule = GroupRule::kMax;
  std::int32_t experts = 0;
  std::int32_t top_k = 0;
  std::int32_t groups = 1;
  std::int32_t groups_kept = 1;
  float renormalize_eps = 0.0f;
  float scale = 1.0f;
};

struct RouterTopkArgs {
  static constexpr double tolerance = 1e-5;
  RouterRule rule;
  View2<const float> logits;              // [T, experts]
  const float* selection_bias = nullptr;  // [experts] or null
  std::int32_t* ids = nullptr;            // [T, top_k]
  float* weights = nullptr;               // [T, top_k]
  std::int64_t bytes_moved() const { return logits.rows * (logits.cols * 4 + rule.top_k * 8); }
};

// One expert of one layer: gate and up are [intermediate, hidden], down is [hidden, intermediate].
struct ExpertWeights {
  PackedWeight gate;
  PackedWeight up;
  PackedWeight down;
};

// The rows of one expert in this call: out row out_rows[i] = FFN(x row x_rows[i]).
struct ExpertGroup {
  ExpertWeights weights;
  const std::int32_t* x_rows = nullptr;    // [rows]
  const std::int32_t* out_rows = nullptr;  // [rows]
  std::int32_t rows = 0;
};

// y[out_row] = down( act(gate x) * (up x) ), for every group. Groups may be given in any order and
// over several calls; each out row is written once. A dense FFN is one group over all rows. All
// matrices of a call are quantized (is_quantized) or none is.
struct ExpertFfnArgs {
  static constexpr double tolerance = 1e-5;
  View2<const float> x;  // [T, hidden]
  View2<float> y;        // [assignments, hidden]
  const ExpertGroup* groups = nullptr;
  std::int32_t num_groups = 0;
  Activation activation = Activation::kSilu;
  float* scratch = nullptr;  // [sum of rows over groups, intermediate]
  std::int64_t bytes_moved() const {
    std::int64_t bytes = 0;
    for (std::int32_t g = 0; g < num_groups; ++g) {
      const ExpertWeights& w = groups[g].weights;
      bytes += packed_bytes(w.gate.format, w.gate.rows, w.gate.cols) + packed_bytes(w.up.format, w.up.rows, w.up.cols) +
               packed_bytes(w.down.format, w.down.rows, w.down.cols) + groups[g].rows * x.cols * 8;
    }
    return bytes;
  }
};

// The matrices of all experts of a layer as a device finds them: pointers in its memory, [experts] each. Every expert
// has the same shape, and by role the same format.
struct DeviceExperts {
  const std::byte* const* gate = nullptr;
  const std::byte* const* up = nullptr;
  const std::byte* const* down = nullptr;
  WeightFormat gate_format = WeightFormat::kF32;  // of up, too
  WeightFormat down_format = WeightFormat::kF32;
  std::int32_t experts = 0;
  std::int64_t inner = 0;
};

// A sparse FFN with all experts in memory: out[t] = sum over slot s = 0 .. top_k-1, in that order, of weights[t][s] *
// FFN(expert ids[t][s], x[t]). Ids and weights are data, so that nothing waits for the host. A table may lack this op:
// then the host makes groups for expert_ffn.
struct MoeFfnArgs {
  static constexpr double tolerance = 1e-5;
  View2<const float> x;               // [T, hidden]
  const std::int32_t* ids = nullptr;  // [T, top_k]
  const float* weights = nullptr;     // [T, top_k]
  std::int32_t top_k = 0;
  DeviceExperts experts;
  Activation activation = Activation::kSilu;
  View2<float> y;                    // [T * top_k, hidden], work memory
  float* scratch = nullptr;          // [T * top_k, inner], work memory
  View2<float> out;                  // [T, hidden]
  std::int32_t* distinct = nullptr;  // becomes the number of distinct experts; may be null
};

// out[t] (+)= sum over slot s = 0 .. top_k-1, in that order, of weights[t][s] * y[t * top_k + s].
struct MoeCombineArgs {
  static constexpr double tolerance = 1e-5;
  View2<const float> y;            // [T * top_k, hidden]
  const float* weights = nullptr;  // [T, top_k]
  std::int32_t top_k = 0;
  View2<float> out;  // [T, hidden]
  bool accumulate = false;
  std::int64_t bytes_moved() const { return y.rows * y.cols * 4 + out.rows * out.cols * 8; }
};

}  // namespace foregate
