#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "kernels/api/check.h"
#include "kernels/api/quantize.h"
#include "kernels/ref/element.h"
#include "kernels/ref/ref_ops.h"
#include "kernels/ref/ref_pack.h"

namespace foregate::ref {
namespace {

// The source as rows of blocks: copied, or quantized from scalars.
std::vector<std::byte> block_rows(const void* source, DType source_type, std::int64_t rows, std::int64_t cols,
                                  DType type) {
  const std::int64_t row_bytes = dtype_row_bytes(type, cols);
  const std::byte* from = static_cast<const std::byte*>(source);
  if (source_type == type) return {from, from + rows * row_bytes};
  std::vector<std::byte> blocks(static_cast<std::size_t>(rows * row_bytes));
  std::vector<float> values(static_cast<std::size_t>(cols));
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = 0; c < cols; ++c) values[c] = read_element(source, source_type, r * cols + c);
    quantize_row(type, values.data(), cols, blocks.data() + r * row_bytes);
  }
  return blocks;
}

}  // namespace

void embed(Stream&, const EmbedArgs& args) {
  for (std::int64_t t = 0; t < args.out.rows; ++t) {
    const std::int64_t token = args.tokens[t];
    CHECK(token >= 0 && token < args.table.rows);
    unpack_row(args.table, token, args.out.data + t * args.out.stride);
  }
}

void rms_norm(Stream&, const RmsNormArgs& args) {
  for (std::int64_t r = 0; r < args.x.rows; ++r) {
    const float* x = args.x.data + r * args.x.stride;
    float* out = args.out.data + r * args.out.stride;
    if (args.residual.data != nullptr) {
      float* residual = args.residual.data + r * args.residual.stride;
      for (std::int64_t c = 0; c < args.x.cols; ++c) residual[c] += x[c];
      x = residual;
    }
    double squares = 0;
    for (std::int64_t c = 0; c < args.x.cols; ++c) squares += static_cast<double>(x[c]) * x[c];
    const double factor = 1.0 / std::sqrt(squares / static_cast<double>(args.x.cols) + args.eps);
    for (std::int64_t c = 0; c < args.x.cols; ++c) out[c] = static_cast<float>(x[c] * factor * args.weight[c]);
  }
}

void head_norm(Stream& stream, const HeadNormArgs& args) {
  for (std::int64_t t = 0; t < args.x.rows; ++t) {
    float* row = args.x.data + t * args.x.stride;
    RmsNormArgs heads;
    heads.x = {row, args.heads, args.head_dim, args.head_dim};
    heads.out = {row, args.heads, args.head_dim, args.head_dim};
    heads.weight = args.weight;
    heads.eps = args.eps;
    rms_norm(stream, heads);
  }
}

void linear(Stream&, const LinearArgs& args) {
  std::vector<std::vector<double>> rows;
  for (std::int64_t t = 0; t < args.x.rows; ++t) {
    rows.push_back(activation_row(args.weight.format, args.x.data + t * args.x.stride, args.weight.cols));
  }
  for (std::int64_t n = 0; n < args.weight.rows; ++n) {
    const std::vector<float> weights = weight_row(args.weight, n);
    for (std::int64_t t = 0; t < args.x.rows; ++t) {
      float* y = args.y.data + t * args.y.stride;
      double sum = std::inner_product(weights.begin(), weights.end(), rows[t].begin(), 0.0);
      if (args.bias != nullptr) sum += args.bias[n];
      if (args.accumulate) sum += y[n];
      y[n] = static_cast<float>(sum);
    }
  }
}

void add(Stream&, const AddArgs& args) {
  for (std::int64_t t = 0; t < args.x.rows; ++t) {
    for (std::int64_t c = 0; c < args.x.cols; ++c) {
      args.x.data[t * args.x.stride + c] += args.y.data[t * args.y.stride + c];
    }
  }
}

void sigmoid_gate_add(Stream&, const SigmoidGateAddArgs& args) {
  for (std::int64_t t = 0; t < args.y.rows; ++t) {
    const double gate = 1.0 / (1.0 + std::exp(-static_cast<double>(args.gate.data[t * args.gate.stride])));
    float* out = args.out.data + t * args.out.stride;
    const float* y = args.y.data + t * args.y.stride;
    for (std::int64_t c = 0; c < args.y.cols; ++c) out[c] = static_cast<float>(out[c] + gate * y[c]);
  }
}

void gather_rows(Stream&, const GatherRowsArgs& args) {
  for (std::int64_t i = 0; i < args.out.rows; ++i) {
    CHECK(args.rows[i] >= 0 && args.rows[i] < args.x.rows);
    const float* x = args.x.data + args.rows[i] * args.x.stride;
    for (std::int64_t c = 0; c < args.out.cols; ++c) args.out.data[i * args.out.stride + c] = x[c];
  }
}

void pack_weight(Stream&, const PackWeightArgs& args) {
  const DType type = format_dtype(args.format);
  if (has_blocks(args.format)) {
    const std::vector<std::byte> rows = block_rows(args.source, args.source_type, args.rows, args.cols, type);
    const std::int64_t row_bytes = dtype_row_bytes(type, args.cols);
    for (std::int64_t r = 0; r < args.rows; r += kRowInterleave) {
      const int count = static_cast<int>(std::min<std::int64_t>(kRowInterleave, args.rows - r));
      std::byte* packed = static_cast<std::byte*>(args.packed) + packed_bytes(args.format, r, args.cols);
      ref::pack_block(args.format, rows.data() + r * row_bytes, count, args.cols, packed);
    }
    return;
  }
  const std::int64_t padded = (args.rows + kRowInterleave - 1) / kRowInterleave * kRowInterleave;
  for (std::int64_t r = 0; r < padded; ++r) {
    for (std::int64_t c = 0; c < args.cols; ++c) {
      const float value = r < args.rows ? read_element(args.source, args.source_type, r * args.cols + c) : 0.0f;
      write_element(args.packed, type, packed_index(r, c, args.cols), value);
    }
  }
}

}  // namespace foregate::ref
