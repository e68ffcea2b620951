#include "tests/bench/op_bench.h"

#include "kernels/api/check.h"

namespace foregate {
namespace {

struct OpRow {
  const char* ops;
  void (*add)(std::vector<OpBench>&);
};

constexpr OpRow kOps[] = {
    {"linear", add_linear},
    {"expert_ffn", add_expert_ffn},
    {"attention", add_attention},
    {"router_topk", add_router},
    {"moe_combine", add_combine},
    {"embed, rms_norm, head_norm, add, sigmoid_gate_add, gather_rows", add_rowwise},
    {"rope, kv_write", add_positions},
    {"pack_weight", add_pack_weight},
};

}  // namespace

std::vector<OpBench> op_benches() {
  std::vector<OpBench> benches;
  for (const OpRow& row : kOps) row.add(benches);
  return benches;
}

PackedWeight pool_weight(const OpMachine& machine, std::int64_t turn, WeightFormat format, std::int64_t rows,
                         std::int64_t cols) {
  const std::int64_t bytes = packed_bytes(format, rows, cols);
  const std::int64_t copies = machine.pool_bytes / bytes;
  CHECK(copies > 0);
  return {machine.pool + turn % copies * bytes, format, rows, cols};
}

MacKind mac_kind(WeightFormat format) {
  return is_quantized(format) ? MacKind::kInt8 : MacKind::kF32;
}

}  // namespace foregate
