// Arguments of the dense ops. Shapes are in elements, T = rows (tokens) of this step.
// Contract of every op: each output row is computed in a fixed reduction order that depends on
// that row alone, never on T, on the threads, or on the other rows.
// Inputs and outputs must not overlap unless stated. kernels/ref defines the meaning; a backend
// may differ from it by `tolerance` relative to the largest magnitude of the row.
#pragma once

#include <cstdint>

#include "kernels/api/quant.h"
#include "kernels/api/view.h"

namespace foregate {

// out[t] = row tokens[t] of the table, widened to f32. 0 <= tokens[t] < table.rows.
struct EmbedArgs {
  static constexpr double tolerance = 0.0;
  PackedWeight table;  // [vocab, hidden]
  const std::int32_t* tokens = nullptr;
  View2<float> out;  // [T, hidden]
  std::int64_t bytes_moved() const {
    return out.rows * (packed_bytes(table.format, kRowInterleave, out.cols) / kRowInterleave + out.cols * 4);
  }
};

// RMSNorm (arXiv 1910.07467): out = x / sqrt(mean(x^2) + eps) * weight, per row.
// When residual.data is set: residual += x first and the norm is taken of the sum.
// out may alias x.
struct RmsNormArgs {
  static constexpr double tolerance = 1e-5;
  View2<const float> x;           // [rows, cols]
  View2<float> residual;          // [rows, cols] or null
  const float* weight = nullptr;  // [cols]
  float eps = 1e-6f;
  View2<float> out;  // [rows, cols]
  std::int64_t bytes_moved() const { return x.rows * x.cols * (residual.data != nullptr ? 16 : 8); }
};

// RMSNorm over each head: x is [T, heads * head_dim], in place; weight is [head_dim].
struct HeadNormArgs {
  static constexpr double tolerance = 1e-5;
  View2<float> x;
  std::int32_t heads = 0;
  std::int32_t head_dim = 0;
  const float* weight = nullptr;
  float eps = 1e-6f;
  std::int64_t bytes_moved() const { return x.rows * x.cols * 8; }
};

// y = x * W^T (+ bias) ; accumulate adds to y instead of replacing it.
struct LinearArgs {
  static constexpr double tolerance = 1e-5;
  PackedWeight weight;          // [N, K]
  const float* bias = nullptr;  // [N] or null
  View2<const float> x;         // [T, K]
  View2<float> y;               // [T, N]
  bool accumulate = false;
  std::int64_t bytes_moved() const {
    return packed_bytes(weight.format, weight.rows, weight.cols) + 4 * (x.rows * x.cols + y.rows * y.cols);
  }
};

// x += y
struct AddArgs {
  static constexpr double tolerance = 0.0;
  View2<float> x;        // [T, C]
  View2<const float> y;  // [T, C]
  std::int64_t bytes_moved() const { return x.rows * x.cols * 12; }
};

// out += sigmoid(gate[t]) * y[t]: the gated shared expert of Qwen2-MoE.
struct SigmoidGateAddArgs {
  static constexpr double tolerance = 1e-5;
  View2<const float> gate;  // [T, 1]
  View2<const float> y;     // [T, H]
  View2<float> out;         // [T, H]
  std::int64_t bytes_moved() const { return y.rows * y.cols * 12; }
};

// out[i] = x[rows[i]]
struct GatherRowsArgs {
  static constexpr double tolerance = 0.0;
  View2<const float> x;
  const std::int32_t* rows = nullptr;  // [out.rows]
  View2<float> out;
  std::int64_t bytes_moved() const { return out.rows * out.cols * 8; }
};

// Writes the packed layout of quant.h. source is row-major [rows, cols] of `source_type`: f32, f16 or bf16, or the
// block type of `format` itself (codes and scales are moved, not changed). Widening f16/bf16 to f32 is exact,
// narrowing rounds to nearest even; from scalars a quantized format takes the codes of kernels/api/quantize.h.
struct PackWeightArgs {
  const void* source = nullptr;
  DType source_type = DType::kF32;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  WeightFormat format = WeightFormat::kF32;
  void* packed = nullptr;  // packed_bytes(format, rows, cols)
};

}  // namespace foregate
