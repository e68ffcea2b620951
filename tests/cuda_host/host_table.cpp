#include "tests/cuda_host/host_table.h"

#include <gtest/gtest.h>

#include "kernels/cuda/cuda_table.h"
#include "kernels/ref/ref_table.h"
#include "tests/cuda_host/emulator.h"

namespace foregate::testing {
namespace {

template <class Args, Op<Args> OpTable::*kSlot>
void waited(Stream& stream, const Args& args) {
  (cuda_table().*kSlot)(stream, args);
  stream.synchronize();
  if (stream.failure() != nullptr) ADD_FAILURE() << stream.failure() << " " << emu::last_report();
}

template <class Args, Op<Args> OpTable::*kSlot>
void wrap(OpTable& table) {
  if (cuda_table().*kSlot != nullptr) table.*kSlot = waited<Args, kSlot>;
}

}  // namespace

const OpTable& cuda_host_table() {
  static const OpTable table = [] {
    OpTable t;
    t.name = "cuda";
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
    t.pack_weight = ref_table().pack_weight;
    return t;
  }();
  return table;
}

}  // namespace foregate::testing
