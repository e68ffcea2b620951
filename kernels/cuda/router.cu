// Router top-k: a warp for each row, lane l holds experts l, l + 32, ... Choices are drawn one by one, largest first,
// ties to the lower expert.
#include "kernels/api/check.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/intrinsics.cuh"

namespace foregate::cuda {
namespace {

constexpr int kRouterWarps = 4;
constexpr int kRouterThreads = kRouterWarps * kWarpLanes;
constexpr int kMaxExperts = 1024;
constexpr int kMaxChosen = 64;

struct RouterShared {
  float scores[kRouterWarps][kMaxExperts];
  float choice[kRouterWarps][kMaxExperts];
  float groups[kRouterWarps][kMaxExperts];
  float weights[kRouterWarps][kMaxChosen];
  int chosen[kRouterWarps][kMaxChosen];
};

__device__ __forceinline__ float score_of(RouterScore rule, float x) {
  switch (rule) {
    case RouterScore::kSigmoid: return 1.0f / (1.0f + expf(-x));
    case RouterScore::kSqrtSoftplus: return sqrtf(x > 0 ? x + log1pf(expf(-x)) : log1pf(expf(x)));
    default: return x;
  }
}

struct Best {
  float value;
  int index;  // -1: none yet
};
__device__ __forceinline__ Best better(const Best& a, const Best& b) {
  if (a.index < 0) return b;
  if (b.index < 0) return a;
  if (b.value > a.value) return b;
  if (a.value > b.value) return a;
  return a.index < b.index ? a : b;  // equal, or one of them NaN
}

// The best of values[0, count) that `taken` does not name; bit i of a lane's taken is index lane + 32 i. All lanes get
// it.
__device__ __forceinline__ Best best_left(const float* values, int count, unsigned taken) {
  const int lane = threadIdx.x % kWarpLanes;
  Best best{0, -1};
  for (int i = 0; lane + kWarpLanes * i < count; ++i) {
    if ((taken >> i & 1u) == 0) best = better(best, {values[lane + kWarpLanes * i], lane + kWarpLanes * i});
  }
  for (int lanes = kWarpLanes / 2; lanes > 0; lanes /= 2) {
    const Best other{__shfl_xor_sync(kFullWarp, best.value, lanes), __shfl_xor_sync(kFullWarp, best.index, lanes)};
    best = better(best, other);
  }
  return best;
}
__device__ __forceinline__ void take(int index, unsigned& taken) {
  if (index % kWarpLanes == static_cast<int>(threadIdx.x % kWarpLanes)) taken |= 1u << index / kWarpLanes;
}

// Scores of a row to shared memory, and what is chosen by.
__device__ __forceinline__ void score_row(const RouterTopkArgs& args, const float* logits, float* scores,
                                          float* choice) {
  const int lane = threadIdx.x % kWarpLanes;
  const int experts = args.rule.experts;
  float top = -__uint_as_float(0x7f800000u);
  float total = 0;
  if (args.rule.score == RouterScore::kSoftmax) {
    for (int e = lane; e < experts; e += kWarpLanes) top = fmaxf(top, logits[e]);
    for (int lanes = kWarpLanes / 2; lanes > 0; lanes /= 2) top = fmaxf(top, __shfl_xor_sync(kFullWarp, top, lanes));
    for (int e = lane; e < experts; e += kWarpLanes) total += expf(logits[e] - top);
    total = warp_sum(total);
  }
  for (int e = lane; e < experts; e += kWarpLanes) {
    const bool softmax = args.rule.score == RouterScore::kSoftmax;
    const float score = softmax ? expf(logits[e] - top) / total : score_of(args.rule.score, logits[e]);
    scores[e] = score;
    choice[e] = args.selection_bias != nullptr ? score + args.selection_bias[e] : score;
  }
  __syncwarp();
}

// A lane's experts outside the best groups.
__device__ __forceinline__ unsigned outside_groups(const RouterRule& rule, const float* choice, float* groups) {
  const int lane = threadIdx.x % kWarpLanes;
  const int size = rule.experts / rule.groups;
  for (int g = lane; g < rule.groups; g += kWarpLanes) {
    Best first{0, -1}, second{0, -1};
    for (int e = 0; e < size; ++e) {
      const Best here{choice[g * size + e], e};
      if (better(first, here).index == e) {
        second = first;
        first = here;
      } else {
        second = better(second, here);
      }
    }
    groups[g] = first.value + (rule.group_rule == GroupRule::kTopTwoSum && size > 1 ? second.value : 0.0f);
  }
  unsigned taken = 0;
  unsigned outside = ~0u;
  for (int n = 0; n < rule.groups_kept; ++n) {  // a lane reads the groups that it wrote
    const int group = best_left(groups, rule.groups, taken).index;
    take(group, taken);
    for (int i = 0; lane + kWarpLanes * i < rule.experts; ++i) {
      if ((lane + kWarpLanes * i) / size == group) outside &= ~(1u << i);
    }
  }
  return outside;
}

// Weights of the chosen from their scores or logits, by one lane in the order of choice.
__device__ __forceinline__ void weigh(const RouterTopkArgs& args, const float* logits, const float* scores,
                                      const int* chosen, float* weights) {
  const RouterRule& rule = args.rule;
  const bool softmax = rule.weights == RouterWeights::kSoftmaxOfSelected;
  const bool sigmoid = rule.weights == RouterWeights::kSigmoidOfSelected;
  float top = logits[chosen[0]];
  for (int s = 1; s < rule.top_k; ++s) top = fmaxf(top, logits[chosen[s]]);
  float total = 0;
  for (int s = 0; s < rule.top_k; ++s) {
    const float logit = logits[chosen[s]];
    weights[s] = softmax ? expf(logit - top) : sigmoid ? 1.0f / (1.0f + expf(-logit)) : scores[chosen[s]];
    total += weights[s];
  }
  if (rule.weights == RouterWeights::kRenormalize || sigmoid) total += rule.renormalize_eps;
  if (rule.weights == RouterWeights::kRaw) total = 1.0f;
  for (int s = 0; s < rule.top_k; ++s) weights[s] = weights[s] / total * rule.scale;
}

__global__ void __launch_bounds__(kRouterThreads) router_topk_kernel(RouterTopkArgs args) {
  RouterShared& shared = shared_block<RouterShared>();
  const int warp = threadIdx.x / kWarpLanes;
  const int lane = threadIdx.x % kWarpLanes;
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kRouterWarps + warp;
  if (row >= args.logits.rows) return;
  const RouterRule& rule = args.rule;
  const float* logits = args.logits.data + row * args.logits.stride;
  score_row(args, logits, shared.scores[warp], shared.choice[warp]);
  unsigned taken = rule.groups > 1 ? outside_groups(rule, shared.choice[warp], shared.groups[warp]) : 0;
  for (int s = 0; s < rule.top_k; ++s) {
    const int expert = best_left(shared.choice[warp], rule.experts, taken).index;
    take(expert, taken);
    if (lane == 0) shared.chosen[warp][s] = expert;
  }
  if (lane == 0) weigh(args, logits, shared.scores[warp], shared.chosen[warp], shared.weights[warp]);
  __syncwarp();
  for (int s = lane; s < rule.top_k; s += kWarpLanes) {
    args.ids[row * rule.top_k + s] = shared.chosen[warp][s];
    args.weights[row * rule.top_k + s] = shared.weights[warp][s];
  }
}

}  // namespace

void router_topk(Stream& stream, const RouterTopkArgs& args) {
  CHECK(args.rule.experts <= kMaxExperts && args.rule.top_k <= kMaxChosen);
  const dim3 grid(static_cast<unsigned>((args.logits.rows + kRouterWarps - 1) / kRouterWarps));
  cuda_stream(stream).launch(router_topk_kernel, grid, kRouterThreads, sizeof(RouterShared), args);
}

}  // namespace foregate::cuda
