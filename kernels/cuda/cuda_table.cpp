#include "kernels/cuda/cuda_table.h"

#include "kernels/cuda/cuda_ops.h"

namespace foregate {

const OpTable& cuda_table() {
  static const OpTable table = {
      .name = "cuda",
      .embed = cuda::embed,
      .rms_norm = cuda::rms_norm,
      .head_norm = cuda::head_norm,
      .linear = cuda::linear,
      .add = cuda::add,
      .sigmoid_gate_add = cuda::sigmoid_gate_add,
      .gather_rows = cuda::gather_rows,
      .rope = cuda::rope,
      .kv_write = cuda::kv_write,
      .attention = cuda::attention,
      .router_topk = cuda::router_topk,
      .expert_ffn = cuda::expert_ffn,
      .moe_combine = cuda::moe_combine,
      .moe_ffn = cuda::moe_ffn,
      .sample = cuda::sample,
  };
  return table;
}

}  // namespace foregate
