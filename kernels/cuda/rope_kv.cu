// Rotary embedding, and keys and values into pages. Elementwise; writes of keys go sixteen positions apart (KvPages),
// a cost of writing once so that reading a page needs no transposition.
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/intrinsics.cuh"

namespace foregate::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void rope_kernel(RopeArgs args) {
  const int half = args.rotary_dim / 2;
  const std::int64_t item = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (item >= args.x.rows * args.heads * half) return;
  const int i = static_cast<int>(item % half);
  const std::int64_t head = item / half % args.heads;
  const std::int64_t row = item / half / args.heads;
  float* x = args.x.data + row * args.x.stride + head * args.head_dim + i;
  const float c = args.cos[row * half + i];
  const float s = args.sin[row * half + i];
  const float low = x[0];
  const float high = x[half];
  x[0] = low * c - high * s;
  x[half] = high * c + low * s;
}

__device__ __forceinline__ void store(void* data, DType type, std::int64_t index, float value) {
  if (type == DType::kF32) {
    static_cast<float*>(data)[index] = value;
  } else {
    static_cast<std::uint16_t*>(data)[index] = type == DType::kF16 ? f32_to_f16(value) : f32_to_bf16(value);
  }
}

__global__ void kv_write_kernel(KvWriteArgs args) {
  const KvPages& pages = args.pages;
  const std::int64_t width = static_cast<std::int64_t>(pages.kv_heads) * pages.head_dim;
  const std::int64_t item = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (item >= args.k.rows * width) return;
  const std::int64_t row = item / width;
  const std::int64_t from = item % width;
  const std::int64_t head = from / pages.head_dim;
  const std::int64_t d = from % pages.head_dim;
  const std::int64_t block = args.slot_mapping[row] / pages.block_size;
  const std::int64_t position = args.slot_mapping[row] % pages.block_size;
  const std::int64_t key = key_index(pages, block, head, position) + d * key_step(pages, position);
  store(pages.k, pages.type, key, args.k.data[row * args.k.stride + from]);
  store(pages.v, pages.type, value_index(pages, block, head, position) + d, args.v.data[row * args.v.stride + from]);
}

dim3 grid_of(std::int64_t items) {
  return dim3(static_cast<unsigned>((items + kThreads - 1) / kThreads));
}

}  // namespace

void rope(Stream& stream, const RopeArgs& args) {
  const dim3 grid = grid_of(args.x.rows * args.heads * (args.rotary_dim / 2));
  cuda_stream(stream).launch(rope_kernel, grid, kThreads, 0, args);
}

void kv_write(Stream& stream, const KvWriteArgs& args) {
  CudaStream& cuda = cuda_stream(stream);
  KvWriteArgs on_device = args;
  on_device.slot_mapping = cuda.stage(ControlList::kSlots, args.slot_mapping, args.k.rows);
  const dim3 grid = grid_of(args.k.rows * args.pages.kv_heads * args.pages.head_dim);
  cuda.launch(kv_write_kernel, grid, kThreads, 0, on_device);
}

}  // namespace foregate::cuda
