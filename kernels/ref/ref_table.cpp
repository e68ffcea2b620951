#include "kernels/ref/ref_table.h"

#include "kernels/ref/ref_ops.h"

namespace foregate {

const OpTable& ref_table() {
  static const OpTable table = {
      .name = "ref",
      .embed = ref::embed,
      .rms_norm = ref::rms_norm,
      .head_norm = ref::head_norm,
      .linear = ref::linear,
      .add = ref::add,
      .sigmoid_gate_add = ref::sigmoid_gate_add,
      .gather_rows = ref::gather_rows,
      .rope = ref::rope,
      .kv_write = ref::kv_write,
      .attention = ref::attention,
      .router_topk = ref::router_topk,
      .expert_ffn = ref::expert_ffn,
      .moe_combine = ref::moe_combine,
      .pack_weight = ref::pack_weight,
      .moe_ffn = ref::moe_ffn,
      .sample = ref::sample,
  };
  return table;
}

}  // namespace foregate
