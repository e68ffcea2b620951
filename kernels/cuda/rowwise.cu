// Ops on rows of f32: norms, sums, gathers. One block a row (norms: a warp where rows are short), vectors of four where
// rows allow it.
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/intrinsics.cuh"

namespace foregate::cuda {
namespace {

constexpr int kNormThreads = 256;
constexpr int kNormWarps = kNormThreads / kWarpLanes;

struct NormShared {
  float sums[kNormWarps];
};

// Every thread of the block gets the sum; warps are added in ascending order.
__device__ __forceinline__ float block_sum(NormShared& shared, float value) {
  value = warp_sum(value);
  if (threadIdx.x % kWarpLanes == 0) shared.sums[threadIdx.x / kWarpLanes] = value;
  __syncthreads();
  float total = 0;
  for (int w = 0; w < kNormWarps; ++w) total += shared.sums[w];
  return total;
}

// Element c of a row, of which all rows have the same number of threads: thread c % kNormThreads adds them in ascending
// order, so the sum depends on the row alone.
__global__ void __launch_bounds__(kNormThreads) rms_norm_kernel(RmsNormArgs args) {
  NormShared& shared = shared_block<NormShared>();
  const std::int64_t row = blockIdx.x;
  const float* x = args.x.data + row * args.x.stride;
  float* out = args.out.data + row * args.out.stride;
  float* residual = args.residual.data == nullptr ? nullptr : args.residual.data + row * args.residual.stride;
  float squares = 0;
  for (std::int64_t c = threadIdx.x; c < args.x.cols; c += kNormThreads) {
    float value = x[c];
    if (residual != nullptr) residual[c] = value += residual[c];
    squares += value * value;
  }
  const float mean = block_sum(shared, squares) / static_cast<float>(args.x.cols);
  const float factor = 1.0f / sqrtf(mean + args.eps);
  const float* from = residual != nullptr ? residual : x;  // a thread reads what it wrote
  for (std::int64_t c = threadIdx.x; c < args.x.cols; c += kNormThreads) out[c] = from[c] * factor * args.weight[c];
}

// A warp for each head.
__global__ void __launch_bounds__(kNormThreads) head_norm_kernel(HeadNormArgs args) {
  const std::int64_t item = static_cast<std::int64_t>(blockIdx.x) * kNormWarps + threadIdx.x / kWarpLanes;
  if (item >= args.x.rows * args.heads) return;
  float* x = args.x.data + item / args.heads * args.x.stride + item % args.heads * args.head_dim;
  const int lane = threadIdx.x % kWarpLanes;
  float squares = 0;
  for (int c = lane; c < args.head_dim; c += kWarpLanes) squares += x[c] * x[c];
  const float factor = 1.0f / sqrtf(warp_sum(squares) / static_cast<float>(args.head_dim) + args.eps);
  for (int c = lane; c < args.head_dim; c += kWarpLanes) x[c] = x[c] * factor * args.weight[c];
}

constexpr int kThreads = 256;

__global__ void add_kernel(AddArgs args) {
  const std::int64_t c = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const std::int64_t row = blockIdx.y;
  if (c < args.x.cols) args.x.data[row * args.x.stride + c] += args.y.data[row * args.y.stride + c];
}

__global__ void sigmoid_gate_add_kernel(SigmoidGateAddArgs args) {
  const std::int64_t c = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const std::int64_t row = blockIdx.y;
  if (c >= args.y.cols) return;
  const float gate = 1.0f / (1.0f + expf(-args.gate.data[row * args.gate.stride]));
  args.out.data[row * args.out.stride + c] += gate * args.y.data[row * args.y.stride + c];
}

__global__ void gather_rows_kernel(GatherRowsArgs args) {
  const std::int64_t c = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const std::int64_t row = blockIdx.y;
  if (c < args.out.cols) args.out.data[row * args.out.stride + c] = args.x.data[args.rows[row] * args.x.stride + c];
}

__global__ void moe_combine_kernel(MoeCombineArgs args) {
  const std::int64_t c = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const std::int64_t row = blockIdx.y;
  if (c >= args.out.cols) return;
  float* out = args.out.data + row * args.out.stride + c;
  float sum = args.accumulate ? *out : 0.0f;
  for (int slot = 0; slot < args.top_k; ++slot) {
    const std::int64_t assignment = row * args.top_k + slot;
    sum += args.weights[assignment] * args.y.data[assignment * args.y.stride + c];
  }
  *out = sum;
}

// Grids have at most 65535 blocks in y: more rows than that go in several launches.
constexpr std::int64_t kMaxRows = 65535;

dim3 grid_of(std::int64_t rows, std::int64_t cols) {
  return dim3(static_cast<unsigned>((cols + kThreads - 1) / kThreads), static_cast<unsigned>(rows));
}

template <class T>
View2<T> rows_from(const View2<T>& view, std::int64_t first, std::int64_t count) {
  return {view.data + first * view.stride, count, view.cols, view.stride};
}

// `run(first, count)` for the pieces of [0, rows).
template <class Run>
void in_pieces(std::int64_t rows, const Run& run) {
  for (std::int64_t first = 0; first < rows; first += kMaxRows) {
    const std::int64_t left = rows - first;
    run(first, left < kMaxRows ? left : kMaxRows);
  }
}

}  // namespace

void rms_norm(Stream& stream, const RmsNormArgs& args) {
  const dim3 grid(static_cast<unsigned>(args.x.rows));
  cuda_stream(stream).launch(rms_norm_kernel, grid, kNormThreads, sizeof(NormShared), args);
}

void head_norm(Stream& stream, const HeadNormArgs& args) {
  const std::int64_t items = args.x.rows * args.heads;
  const dim3 grid(static_cast<unsigned>((items + kNormWarps - 1) / kNormWarps));
  cuda_stream(stream).launch(head_norm_kernel, grid, kNormThreads, 0, args);
}

void add(Stream& stream, const AddArgs& args) {
  in_pieces(args.x.rows, [&](std::int64_t first, std::int64_t count) {
    const AddArgs piece{rows_from(args.x, first, count), rows_from(args.y, first, count)};
    cuda_stream(stream).launch(add_kernel, grid_of(count, args.x.cols), kThreads, 0, piece);
  });
}

void sigmoid_gate_add(Stream& stream, const SigmoidGateAddArgs& args) {
  in_pieces(args.y.rows, [&](std::int64_t first, std::int64_t count) {
    const SigmoidGateAddArgs piece{rows_from(args.gate, first, count), rows_from(args.y, first, count),
                                   rows_from(args.out, first, count)};
    cuda_stream(stream).launch(sigmoid_gate_add_kernel, grid_of(count, args.y.cols), kThreads, 0, piece);
  });
}

void gather_rows(Stream& stream, const GatherRowsArgs& args) {
  CudaStream& cuda = cuda_stream(stream);
  const std::int32_t* rows = cuda.stage(ControlList::kRows, args.rows, args.out.rows);
  in_pieces(args.out.rows, [&](std::int64_t first, std::int64_t count) {
    const GatherRowsArgs piece{args.x, rows + first, rows_from(args.out, first, count)};
    cuda.launch(gather_rows_kernel, grid_of(count, args.out.cols), kThreads, 0, piece);
  });
}

void moe_combine(Stream& stream, const MoeCombineArgs& args) {
  in_pieces(args.out.rows, [&](std::int64_t first, std::int64_t count) {
    MoeCombineArgs piece = args;
    piece.y = rows_from(args.y, first * args.top_k, count * args.top_k);
    piece.weights += first * args.top_k;
    piece.out = rows_from(args.out, first, count);
    cuda_stream(stream).launch(moe_combine_kernel, grid_of(count, args.out.cols), kThreads, 0, piece);
  });
}

}  // namespace foregate::cuda
