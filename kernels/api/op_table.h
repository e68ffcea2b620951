// One function pointer per op. A backend fills what it has; kernels/registry fills the rest from
// kernels/ref and reports it. Const after start.
#pragma once

#include "kernels/api/args_attention.h"
#include "kernels/api/args_dense.h"
#include "kernels/api/args_moe.h"
#include "kernels/api/args_sample.h"
#include "kernels/api/device.h"

namespace foregate {

template <class Args>
using Op = void (*)(Stream&, const Args&);

struct OpTable {
  const char* name = "";  // "ref", "cpu-generic", "cpu-avx2", "cpu-avx512", ...
  Op<EmbedArgs> embed = nullptr;
  Op<RmsNormArgs> rms_norm = nullptr;
  Op<HeadNormArgs> head_norm = nullptr;
  Op<LinearArgs> linear = nullptr;
  Op<AddArgs> add = nullptr;
  Op<SigmoidGateAddArgs> sigmoid_gate_add = nullptr;
  Op<GatherRowsArgs> gather_rows = nullptr;
  Op<RopeArgs> rope = nullptr;
  Op<KvWriteArgs> kv_write = nullptr;
  Op<AttentionArgs> attention = nullptr;
  Op<RouterTopkArgs> router_topk = nullptr;
  Op<ExpertFfnArgs> expert_ffn = nullptr;
  Op<MoeCombineArgs> moe_combine = nullptr;
  Op<PackWeightArgs> pack_weight = nullptr;
  Op<MoeFfnArgs> moe_ffn = nullptr;  // of devices that route without the host; not filled from ref
  Op<SampleArgs> sample = nullptr;   // of devices that sample without the host; likewise
};

}  // namespace foregate
