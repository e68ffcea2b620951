// The ops of the CUDA table, by file of kernels/cuda. Stream is a CudaStream; data of Args lies in device memory, while
// what the host decides with (tokens, row lists, slots, sequences, block tables, expert groups) lies in host memory.
// Meaning and shapes: kernels/api/args_*.h. They return before the device has done the work.
#pragma once

#include "kernels/api/op_table.h"
#include "kernels/cuda/cuda_stream.h"

namespace foregate::cuda {

inline CudaStream& cuda_stream(Stream& stream) {
  return static_cast<CudaStream&>(stream);
}

// rowwise.cu
void rms_norm(Stream& stream, const RmsNormArgs& args);
void head_norm(Stream& stream, const HeadNormArgs& args);
void add(Stream& stream, const AddArgs& args);
void sigmoid_gate_add(Stream& stream, const SigmoidGateAddArgs& args);
void gather_rows(Stream& stream, const GatherRowsArgs& args);
void moe_combine(Stream& stream, const MoeCombineArgs& args);
// embed.cu
void embed(Stream& stream, const EmbedArgs& args);
// rope_kv.cu
void rope(Stream& stream, const RopeArgs& args);
void kv_write(Stream& stream, const KvWriteArgs& args);
// router.cu
void router_topk(Stream& stream, const RouterTopkArgs& args);
// linear.cu, expert_ffn.cu
void linear(Stream& stream, const LinearArgs& args);
void expert_ffn(Stream& stream, const ExpertFfnArgs& args);
// moe_ffn.cu
void moe_ffn(Stream& stream, const MoeFfnArgs& args);
// sample.cu
void sample(Stream& stream, const SampleArgs& args);
// attention_plan.cpp, attention.cu
void attention(Stream& stream, const AttentionArgs& args);

}  // namespace foregate::cuda
