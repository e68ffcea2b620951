// Every algorithm over the primitives of one vec_*.inl, and the table they make.

// clang-format off
#include "kernels/cpu/vec_math.inl"
#include "kernels/cpu/run_items.inl"
#include "kernels/cpu/matmul.inl"
#include "kernels/cpu/fp8.inl"
#include "kernels/cpu/quant_rows.inl"
#include "kernels/cpu/quant_tile.inl"
#include "kernels/cpu/quant_pair.inl"
#include "kernels/cpu/quant_blocks.inl"
#include "kernels/cpu/quant_linear.inl"
#include "kernels/cpu/quant_ffn.inl"
#include "kernels/cpu/linear.inl"
#include "kernels/cpu/expert_ffn.inl"
#include "kernels/cpu/attention_tile.inl"
#include "kernels/cpu/attention_worker.inl"
#include "kernels/cpu/attention.inl"
#include "kernels/cpu/norm.inl"
#include "kernels/cpu/rowwise.inl"
#include "kernels/cpu/quantize.inl"
#include "kernels/cpu/pack.inl"
#include "kernels/cpu/router.inl"
// clang-format on

constexpr OpTable kTable = {
    .name = kTableName,
    .embed = embed,
    .rms_norm = rms_norm,
    .head_norm = head_norm,
    .linear = linear,
    .add = add_rows,
    .sigmoid_gate_add = sigmoid_gate_add,
    .gather_rows = gather_rows,
    .rope = rope,
    .kv_write = kv_write,
    .attention = attention,
    .router_topk = router_topk,
    .expert_ffn = expert_ffn,
    .moe_combine = moe_combine,
    .pack_weight = pack_weight,
};
