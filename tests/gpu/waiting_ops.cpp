#include "tests/gpu/waiting_ops.h"

#include "kernels/ref/ref_table.h"

namespace foregate::testing {
namespace {

OpTable g_ops;

template <class Args, Op<Args> OpTable::*kSlot>
void waited(Stream& stream, const Args& args) {
  (g_ops.*kSlot)(stream, args);
  stream.synchronize();
}

template <class Args, Op<Args> OpTable::*kSlot>
void wrap(OpTable& table) {
  if (g_ops.*kSlot != nullptr) table.*kSlot = waited<Args, kSlot>;
}

}  // namespace

OpTable waiting_ops(const OpTable& ops) {
  g_ops = ops;
  OpTable t;
  t.name = ops.name;
  wrap<EmbedArgs, &OpTable::embed>(t);
  wrap<RmsNormArgs, &OpTable::rms_norm>(t);
  wrap<HeadNormArgs, &OpTable::head_norm>(t);
  wrap<LinearArgs, &OpTable::linear>(t);
  wrap<AddArgs, &OpTable::add>(t);
  wrap<SigmoidGateAddArgs, &OpTable::sigmoid_gate_add>(t);
  wrap<GatherRowsArgs, &OpTable::gather_rows>(t);
  wrap<RopeArgs, &OpTable::rope>(t);
  wrap<KvWriteArgs, &OpTable::kv_write>(t);
  wrap<AttentionArgs, &OpTable::attention>(t);
  wrap<RouterTopkArgs, &OpTable::router_topk>(t);
  wrap<ExpertFfnArgs, &OpTable::expert_ffn>(t);
  wrap<MoeCombineArgs, &OpTable::moe_combine>(t);
  wrap<MoeFfnArgs, &OpTable::moe_ffn>(t);
  wrap<SampleArgs, &OpTable::sample>(t);
  t.pack_weight = ref_table().pack_weight;
  return t;
}

}  // namespace foregate::testing
