// The list of op benchmarks: every op of the table at the shapes and formats that decide a model's speed. An op is a
// row of kOps in op_bench.cpp and a function that adds its cases.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/api/op_table.h"

namespace foregate {

enum class MacKind { kInt8, kF32 };  // which peak the multiply-adds are compared with

// One op, ready to be called again and again; its arguments live in `call`.
struct PreparedOp {
  double bytes = 0.0;  // moved by one call, Args::bytes_moved()
  double macs = 0.0;   // multiply-adds of one call; 0: not what limits this op
  MacKind kind = MacKind::kF32;
  std::function<void()> before;  // not timed; may be empty
  std::function<void()> call;
};

// Where a case runs. `pool` is far larger than the caches and holds bytes that are small finite values in every
// format: cases take their weights and pages from it, a different part at every call.
struct OpMachine {
  const OpTable& ops;
  Stream& stream;
  std::byte* pool;
  std::int64_t pool_bytes;
};

struct OpBench {
  std::string name;  // op/shape/format/T:rows
  std::function<PreparedOp(const OpMachine&)> prepare;
};

std::vector<OpBench> op_benches();

// Formats of weights that are measured.
inline constexpr WeightFormat kBenchFormats[] = {WeightFormat::kF32,   WeightFormat::kBF16, WeightFormat::kQ8_0,
                                                 WeightFormat::kQ4_0,  WeightFormat::kQ4_1, WeightFormat::kQ5_0,
                                                 WeightFormat::kQ4_K,  WeightFormat::kQ5_K, WeightFormat::kQ6_K,
                                                 WeightFormat::kMxfp4, WeightFormat::kFp8};
inline constexpr DType kBenchKvTypes[] = {DType::kF32, DType::kF16, DType::kBF16, DType::kI8};

// Rows of floats that outlive the call that made them.
struct BenchRows {
  std::shared_ptr<std::vector<float>> values;
  std::int64_t rows;
  std::int64_t cols;
  BenchRows(std::int64_t rows, std::int64_t cols, float value = 0.5f)
      : values(std::make_shared<std::vector<float>>(static_cast<std::size_t>(rows * cols), value)),
        rows(rows),
        cols(cols) {}
  View2<const float> read() const { return {values->data(), rows, cols, cols}; }
  View2<float> write() const { return {values->data(), rows, cols, cols}; }
};

// A packed matrix that lies somewhere else in the pool at every turn.
PackedWeight pool_weight(const OpMachine& machine, std::int64_t turn, WeightFormat format, std::int64_t rows,
                         std::int64_t cols);
MacKind mac_kind(WeightFormat format);

// The functions of kOps.
void add_linear(std::vector<OpBench>& benches);
void add_rowwise(std::vector<OpBench>& benches);
void add_pack_weight(std::vector<OpBench>& benches);
void add_expert_ffn(std::vector<OpBench>& benches);
void add_router(std::vector<OpBench>& benches);
void add_combine(std::vector<OpBench>& benches);
void add_attention(std::vector<OpBench>& benches);
void add_positions(std::vector<OpBench>& benches);

}  // namespace foregate
