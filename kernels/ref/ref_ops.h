// The reference ops, one function per slot of OpTable (see kernels/api/args_*.h for their meaning).
// Internal to kernels/ref; any thread.
#pragma once

#include "kernels/api/op_table.h"

namespace foregate::ref {

void embed(Stream&, const EmbedArgs& args);
void rms_norm(Stream&, const RmsNormArgs& args);
void head_norm(Stream&, const HeadNormArgs& args);
void linear(Stream&, const LinearArgs& args);
void add(Stream&, const AddArgs& args);
void sigmoid_gate_add(Stream&, const SigmoidGateAddArgs& args);
void gather_rows(Stream&, const GatherRowsArgs& args);
void pack_weight(Stream&, const PackWeightArgs& args);
void rope(Stream&, const RopeArgs& args);
void kv_write(Stream&, const KvWriteArgs& args);
void attention(Stream&, const AttentionArgs& args);
void router_topk(Stream&, const RouterTopkArgs& args);
void expert_ffn(Stream&, const ExpertFfnArgs& args);
void moe_combine(Stream&, const MoeCombineArgs& args);
void moe_ffn(Stream&, const MoeFfnArgs& args);
void sample(Stream& stream, const SampleArgs& args);

}  // namespace foregate::ref
