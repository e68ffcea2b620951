// Rows of the token table, widened to f32 exactly as kernels/api/blocks.h does it. A thread for each value.
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/intrinsics.cuh"
#include "kernels/cuda/quant_format.cuh"

namespace foregate::cuda {
namespace {

constexpr int kThreads = 256;

// Row `lane` of the sixteen rows at `rows`, column k.
template <WeightFormat F>
__device__ __forceinline__ float weight_value(const std::uint8_t* rows, int lane, std::int64_t k) {
  if constexpr (F == WeightFormat::kF32) {
    return reinterpret_cast<const float*>(rows)[k * kRowInterleave + lane];
  } else if constexpr (F == WeightFormat::kF16) {
    return f16_to_f32(reinterpret_cast<const std::uint16_t*>(rows)[k * kRowInterleave + lane]);
  } else if constexpr (F == WeightFormat::kBF16) {
    return bf16_to_f32(reinterpret_cast<const std::uint16_t*>(rows)[k * kRowInterleave + lane]);
  } else if constexpr (F == WeightFormat::kFp8) {
    constexpr FormatUnit kUnit = format_unit(F);
    const std::uint8_t* unit = rows + k / kUnit.cols * kUnit.bytes;
    const std::uint32_t code = unit[64 + k % kUnit.cols * kRowInterleave + lane];
    const float magnitude = __uint_as_float((code & 0x7fu) << 20) * 0x1p120f;
    return reinterpret_cast<const float*>(unit)[lane] * ((code & 0x80u) != 0 ? -magnitude : magnitude);
  } else {
    QuantGroup group;
    const int in_group = static_cast<int>(k % kQuantGroup);
    const int chunk = in_group / 4;
    load_group<F>(rows, k / kQuantGroup, lane / 2, chunk % 4, group);
    const std::uint32_t word = group.a[chunk / 4 * 2 + lane % 2];
    const int code = static_cast<int>(word >> 8 * (in_group % 4) & 0xff) - QuantFormat<F>::kZero;
    float scale = group.scale[lane % 2];
    if constexpr (QuantFormat<F>::kTwoScales) scale = chunk < 4 ? scale : group.second[lane % 2];
    const float value = __fmul_rn(scale, static_cast<float>(code));
    if constexpr (QuantFormat<F>::kHasMin) return __fadd_rn(value, group.min[lane % 2]);
    return value;
  }
}

template <WeightFormat F>
__global__ void embed_kernel(EmbedArgs args) {
  const std::int64_t item = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (item >= args.out.rows * args.out.cols) return;
  const std::int64_t row = item / args.out.cols;
  const std::int64_t k = item % args.out.cols;
  const std::int64_t token = args.tokens[row];
  const auto* rows = reinterpret_cast<const std::uint8_t*>(args.table.data) +
                     packed_bytes(F, token / kRowInterleave * kRowInterleave, args.out.cols);
  args.out.data[row * args.out.stride + k] = weight_value<F>(rows, static_cast<int>(token % kRowInterleave), k);
}

}  // namespace

void embed(Stream& stream, const EmbedArgs& args) {
  CudaStream& cuda = cuda_stream(stream);
  EmbedArgs on_device = args;
  on_device.tokens = cuda.stage(ControlList::kTokens, args.tokens, args.out.rows);
  const dim3 grid(static_cast<unsigned>((args.out.rows * args.out.cols + kThreads - 1) / kThreads));
  const auto run = [&](void (*kernel)(EmbedArgs)) { cuda.launch(kernel, grid, kThreads, 0, on_device); };
  switch (args.table.format) {
    case WeightFormat::kF32: return run(embed_kernel<WeightFormat::kF32>);
    case WeightFormat::kF16: return run(embed_kernel<WeightFormat::kF16>);
    case WeightFormat::kBF16: return run(embed_kernel<WeightFormat::kBF16>);
    case WeightFormat::kQ8_0: return run(embed_kernel<WeightFormat::kQ8_0>);
    case WeightFormat::kQ4_0: return run(embed_kernel<WeightFormat::kQ4_0>);
    case WeightFormat::kQ4_1: return run(embed_kernel<WeightFormat::kQ4_1>);
    case WeightFormat::kQ5_0: return run(embed_kernel<WeightFormat::kQ5_0>);
    case WeightFormat::kQ4_K: return run(embed_kernel<WeightFormat::kQ4_K>);
    case WeightFormat::kQ5_K: return run(embed_kernel<WeightFormat::kQ5_K>);
    case WeightFormat::kQ6_K: return run(embed_kernel<WeightFormat::kQ6_K>);
    case WeightFormat::kMxfp4: return run(embed_kernel<WeightFormat::kMxfp4>);
    case WeightFormat::kFp8: return run(embed_kernel<WeightFormat::kFp8>);
  }
}

}  // namespace foregate::cuda
