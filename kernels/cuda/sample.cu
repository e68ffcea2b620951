// One token from each row of logits: a block a row. Weights are whole numbers of 2^-n, so that sums do not depend on
// the order in which threads add; which tokens stay is found by histograms over the bits of logits and weights, eight
// at a time, as in a radix sort.
#include "kernels/api/check.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/intrinsics.cuh"

namespace foregate::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpLanes;
constexpr int kBins = 256;
constexpr float kGreedyBelow = 1e-5f;

using Mass = unsigned long long;

struct SampleShared {
  Mass mass[kBins];
  unsigned count[kBins];
  float best[kThreads];
  int best_at[kThreads];
  int bad;
  // Found by thread 0 for all.
  unsigned key;       // of the logits that stay the least
  unsigned edge;      // bits of the least weight that stays
  Mass total, above;  // of what min_p and top_k leave; of the weights beyond the edge
  Mass left;          // of the draw, before its warp
  Mass warp_mass[kWarps];
  unsigned warp_ties[kWarps];
  unsigned ties;  // of the edge's, so many stay, the lower ids
  int warp;       // whose part of the row the draw falls into
};

struct RowRule {
  SampleRule rule;
  const float* x;
  int cols;
  float highest;
  unsigned key;
  double unit;  // of a mass
};

// Larger values have larger keys; both zeros the same.
__device__ __forceinline__ unsigned key_of(float x) {
  const unsigned bits = __float_as_uint(x == 0.0f ? 0.0f : x);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// As engine/sample/logit_row.cpp has it, operation by operation.
__device__ __forceinline__ float weight_of(float x, float highest, float scale) {
  const float y = __fmul_rn(__fadd_rn(x, -highest), scale);
  const float bounded = y < -87.0f ? -87.0f : y;
  const float shifted = __fadd_rn(__fmul_rn(bounded, 1.44269504f), 12582912.0f);
  const float n = __fadd_rn(shifted, -12582912.0f);
  const float r = __fadd_rn(__fadd_rn(bounded, -__fmul_rn(n, 0.693359375f)), -__fmul_rn(n, -2.12194440e-4f));
  float p = 1.9875691500e-4f;
  p = __fadd_rn(__fmul_rn(p, r), 1.3981999507e-3f);
  p = __fadd_rn(__fmul_rn(p, r), 8.3334519073e-3f);
  p = __fadd_rn(__fmul_rn(p, r), 4.1665795894e-2f);
  p = __fadd_rn(__fmul_rn(p, r), 1.6666665459e-1f);
  p = __fadd_rn(__fmul_rn(p, r), 5.0000001201e-1f);
  p = __fadd_rn(__fadd_rn(__fmul_rn(__fmul_rn(p, r), r), r), 1.0f);
  const float power = __uint_as_float((__float_as_uint(shifted) << 23) + 0x3f800000u);
  return y < -87.0f ? 0.0f : __fmul_rn(p, power);
}

// 0 for what does not stay.
__device__ __forceinline__ float kept_weight(const RowRule& row, int i) {
  const float x = row.x[i];
  if (key_of(x) < row.key) return 0.0f;
  const float weight = weight_of(x, row.highest, 1.0f / row.rule.temperature);
  return weight >= row.rule.min_p ? weight : 0.0f;
}
__device__ __forceinline__ Mass mass_of(const RowRule& row, float weight) {
  return static_cast<Mass>(static_cast<double>(weight) * row.unit);
}

__device__ __forceinline__ void find_best(const RowRule& row, SampleShared& shared) {
  float best = row.x[0];
  int at = 0;
  bool bad = false;
  for (int i = threadIdx.x; i < row.cols; i += kThreads) {
    const float x = row.x[i];
    bad = bad || (__float_as_uint(x) & 0x7f800000u) == 0x7f800000u;
    if (x > best) {
      best = x;
      at = i;
    }
  }
  shared.best[threadIdx.x] = best;
  shared.best_at[threadIdx.x] = at;
  if (bad) shared.bad = 1;
  __syncthreads();
  for (int half = kThreads / 2; half > 0; half /= 2) {
    const int other = threadIdx.x + half;
    if (static_cast<int>(threadIdx.x) < half) {
      const float theirs = shared.best[other];
      const bool lower = theirs == shared.best[threadIdx.x] && shared.best_at[other] < shared.best_at[threadIdx.x];
      if (theirs > shared.best[threadIdx.x] || lower) {
        shared.best[threadIdx.x] = theirs;
        shared.best_at[threadIdx.x] = shared.best_at[other];
      }
    }
    __syncthreads();
  }
}

// The key of the k-th greatest logit.
__device__ __forceinline__ void find_kth(const RowRule& row, SampleShared& shared) {
  unsigned prefix = 0;
  unsigned wanted = static_cast<unsigned>(row.rule.top_k);
  for (int shift = 24; shift >= 0; shift -= 8) {
    shared.count[threadIdx.x] = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < row.cols; i += kThreads) {
      const unsigned key = key_of(row.x[i]);
      if (shift == 24 || key >> (shift + 8) == prefix >> (shift + 8)) atomicAdd(&shared.count[key >> shift & 255u], 1u);
    }
    __syncthreads();
    int bin = kBins - 1;  // every thread finds the same
    while (bin > 0 && shared.count[bin] < wanted) wanted -= shared.count[bin--];
    prefix |= static_cast<unsigned>(bin) << shift;
    __syncthreads();
  }
  if (threadIdx.x == 0) shared.key = prefix;
  __syncthreads();
}

// The mass of what stays, and with top_p below 1 the weight at which that part of it is reached.
__device__ __forceinline__ void find_edge(const RowRule& row, SampleShared& shared) {
  unsigned prefix = 0;
  Mass above = 0, wanted = 0;
  for (int shift = 24; shift >= 0; shift -= 8) {
    shared.mass[threadIdx.x] = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < row.cols; i += kThreads) {
      const float weight = kept_weight(row, i);
      const unsigned bits = __float_as_uint(weight);
      if (shift == 24 || bits >> (shift + 8) == prefix >> (shift + 8)) {
        atomicAdd(&shared.mass[bits >> shift & 255u], mass_of(row, weight));
      }
    }
    __syncthreads();
    if (shift == 24) {
      Mass total = 0;
      for (int bin = 0; bin < kBins; ++bin) total += shared.mass[bin];
      if (threadIdx.x == 0) shared.total = total;
      if (row.rule.top_p >= 1.0f) break;
      wanted = static_cast<Mass>(static_cast<double>(row.rule.top_p) * static_cast<double>(total));
      wanted = wanted > total ? total : wanted;
    }
    int bin = kBins - 1;
    while (bin > 0 && (shared.mass[bin] == 0 || above + shared.mass[bin] < wanted)) above += shared.mass[bin--];
    prefix |= static_cast<unsigned>(bin) << shift;
    __syncthreads();
  }
  if (threadIdx.x == 0) {
    const Mass each = mass_of(row, __uint_as_float(prefix));
    Mass ties = each == 0 || wanted <= above ? 1 : (wanted - above + each - 1) / each;
    if (row.rule.top_p >= 1.0f) ties = 0;
    shared.edge = prefix;
    shared.above = above;
    shared.ties = static_cast<unsigned>(ties < 0xffffffffull ? ties : 0xffffffffull);
  }
  __syncthreads();
}

// Of a token: its mass if it is beyond the edge; `tie` when it is at the edge.
__device__ __forceinline__ Mass mass_beyond(const RowRule& row, const SampleShared& shared, int i, bool& tie) {
  const float weight = kept_weight(row, i);
  const unsigned bits = __float_as_uint(weight);
  tie = row.rule.top_p < 1.0f && weight > 0.0f && bits == shared.edge;
  return !tie && bits >= shared.edge ? mass_of(row, weight) : 0;
}

__device__ __forceinline__ int part_of(const RowRule& row) {
  return (row.cols + kWarps - 1) / kWarps;
}

__device__ __forceinline__ void sum_warps(const RowRule& row, SampleShared& shared) {
  const int warp = threadIdx.x / kWarpLanes;
  const int first = warp * part_of(row);
  const int end = first + part_of(row) < row.cols ? first + part_of(row) : row.cols;
  Mass mass = 0;
  unsigned ties = 0;
  for (int i = first + static_cast<int>(threadIdx.x % kWarpLanes); i < end; i += kWarpLanes) {
    bool tie;
    mass += mass_beyond(row, shared, i, tie);
    ties += tie ? 1u : 0u;
  }
  for (int lanes = kWarpLanes / 2; lanes > 0; lanes /= 2) {
    mass += __shfl_xor_sync(kFullWarp, mass, lanes);
    ties += __shfl_xor_sync(kFullWarp, ties, lanes);
  }
  if (threadIdx.x % kWarpLanes == 0) {
    shared.warp_mass[warp] = mass;
    shared.warp_ties[warp] = ties;
  }
  __syncthreads();
}

// Thread 0: which warp's part the draw falls into; what is left of it, and of the ties, before that part.
__device__ __forceinline__ void find_warp(const RowRule& row, SampleShared& shared) {
  const Mass each = mass_of(row, __uint_as_float(shared.edge));
  unsigned all_ties = 0;
  Mass kept = 0;
  for (int w = 0; w < kWarps; ++w) {
    kept += shared.warp_mass[w];
    all_ties += shared.warp_ties[w];
  }
  const unsigned ties = shared.ties < all_ties ? shared.ties : all_ties;
  kept += each * ties;
  Mass left = static_cast<Mass>(row.rule.draw * static_cast<double>(kept));
  if (kept > 0 && left >= kept) left = kept - 1;
  unsigned ties_left = ties;
  int warp = 0;
  for (; warp < kWarps - 1; ++warp) {
    const unsigned here = shared.warp_ties[warp] < ties_left ? shared.warp_ties[warp] : ties_left;
    const Mass mass = shared.warp_mass[warp] + each * here;
    if (left < mass) break;
    left -= mass;
    ties_left -= here;
  }
  shared.left = left;
  shared.ties = ties_left;
  shared.warp = warp;
}

// The warp of that part: tile by tile, in order of the ids.
__device__ __forceinline__ int find_token(const RowRule& row, const SampleShared& shared) {
  const int lane = threadIdx.x % kWarpLanes;
  const int first = shared.warp * part_of(row);
  const int end = first + part_of(row) < row.cols ? first + part_of(row) : row.cols;
  const Mass each = mass_of(row, __uint_as_float(shared.edge));
  Mass left = shared.left;
  unsigned ties_left = shared.ties;
  for (int tile = first; tile < end; tile += kWarpLanes) {
    bool tie = false;
    Mass mass = tile + lane < end ? mass_beyond(row, shared, tile + lane, tie) : 0;
    const unsigned ties = __ballot_sync(kFullWarp, tie);
    if (tie && static_cast<unsigned>(__popc(ties & ((1u << lane) - 1u))) < ties_left) mass = each;
    Mass sum = mass;  // of this lane and those below
    for (unsigned lanes = 1; lanes < kWarpLanes; lanes *= 2) {
      const Mass below = __shfl_up_sync(kFullWarp, sum, lanes);
      if (lane >= static_cast<int>(lanes)) sum += below;
    }
    const unsigned reached = __ballot_sync(kFullWarp, sum > left);
    if (reached != 0) return tile + __ffs(static_cast<int>(reached)) - 1;
    left -= __shfl_sync(kFullWarp, sum, kWarpLanes - 1);
    const unsigned here = static_cast<unsigned>(__popc(ties));
    ties_left -= here < ties_left ? here : ties_left;
  }
  return end - 1;
}

__global__ void __launch_bounds__(kThreads)
    sample_kernel(View2<const float> logits, const SampleRule* rules, std::int32_t* tokens, double unit) {
  SampleShared& shared = shared_block<SampleShared>();
  const std::int64_t r = blockIdx.x;
  RowRule row{rules[r], logits.data + r * logits.stride, static_cast<int>(logits.cols), 0.0f, 0u, unit};
  if (!row.rule.wanted) {
    if (threadIdx.x == 0) tokens[r] = kNotSampled;
    return;
  }
  if (threadIdx.x == 0) shared.bad = 0;
  __syncthreads();
  find_best(row, shared);
  if (shared.bad != 0 || row.rule.temperature < kGreedyBelow) {
    if (threadIdx.x == 0) tokens[r] = shared.bad != 0 ? kSampleNotFinite : shared.best_at[0];
    return;
  }
  row.highest = shared.best[0];
  if (row.rule.top_k > 0 && row.rule.top_k < row.cols) {
    find_kth(row, shared);
    row.key = shared.key;
  }
  find_edge(row, shared);
  sum_warps(row, shared);
  if (threadIdx.x == 0) find_warp(row, shared);
  __syncthreads();
  if (static_cast<int>(threadIdx.x / kWarpLanes) != shared.warp) return;
  const int token = find_token(row, shared);
  if (threadIdx.x % kWarpLanes == 0) tokens[r] = token;
}

}  // namespace

void sample(Stream& stream, const SampleArgs& args) {
  CudaStream& cuda = cuda_stream(stream);
  if (args.logits.rows == 0) return;
  constexpr int kMassBits = 62;
  int vocab_bits = 1;
  while (std::int64_t{1} << vocab_bits < args.logits.cols) ++vocab_bits;
  const double unit = static_cast<double>(std::int64_t{1} << (kMassBits - vocab_bits));
  const SampleRule* rules = cuda.stage(ControlList::kSampling, args.rules, args.logits.rows);
  cuda.launch(sample_kernel, dim3(static_cast<unsigned>(args.logits.rows)), kThreads, sizeof(SampleShared), args.logits,
              rules, args.tokens, unit);
}

}  // namespace foregate::cuda
