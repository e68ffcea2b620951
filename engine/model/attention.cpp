#include "engine/model/attention.h"

#include <cmath>
#include <span>

namespace foregate {
namespace {

void project(const Step& step, const LinearWeights& linear, View2<const float> x, View2<float> y) {
  step.ops.linear(step.stream, LinearArgs{.weight = linear.weight, .bias = linear.bias, .x = x, .y = y});
}

void normalize(const Step& step, View2<float> x, std::int32_t heads, const float* weight) {
  const ModelConfig& config = step.config;
  if (config.arch->qk_norm == QkNorm::kPerHead) {
    step.ops.head_norm(
        step.stream,
        HeadNormArgs{
            .x = x, .heads = heads, .head_dim = config.head_dim, .weight = weight, .eps = config.rms_norm_eps});
  } else if (config.arch->qk_norm == QkNorm::kFullWidth) {
    step.ops.rms_norm(step.stream, RmsNormArgs{.x = {x.data, x.rows, x.cols, x.stride},
                                               .residual = {},
                                               .weight = weight,
                                               .eps = config.rms_norm_eps,
                                               .out = x});
  }
}

void rotate(const Step& step, View2<float> x, std::int32_t heads, const LayerConfig& layer) {
  if (layer.rope < 0) return;
  const auto rope = static_cast<std::size_t>(layer.rope);
  step.ops.rope(step.stream, RopeArgs{.x = x,
                                      .heads = heads,
                                      .head_dim = step.config.head_dim,
                                      .rotary_dim = step.config.ropes[rope].rotary_dim,
                                      .cos = step.scratch.cos[rope],
                                      .sin = step.scratch.sin[rope]});
}

}  // namespace

void run_attention(const Step& step, const AttentionWeights& weights, const LayerConfig& layer, const KvPages& pages) {
  const ModelConfig& config = step.config;
  const bool windowed = layer.window > 0 && !step.input.window_seqs.empty();
  const ForwardInput& input = step.input;
  const bool branched = !input.branches.empty();
  const std::span<const SeqSpan> seqs =
      windowed ? (branched ? input.window_branches : input.window_seqs) : (branched ? input.branches : input.seqs);
  const std::span<const std::int64_t> slots = windowed ? step.input.window_slots : step.input.slot_mapping;
  const View2<float> q = step.view(step.scratch.q, config.q_width());
  const View2<float> k = step.view(step.scratch.k, config.kv_width());
  const View2<float> v = step.view(step.scratch.v, config.kv_width());
  project(step, weights.q, step.block_in(), q);
  project(step, weights.k, step.block_in(), k);
  project(step, weights.v, step.block_in(), v);
  normalize(step, q, config.heads, weights.q_norm);
  normalize(step, k, config.kv_heads, weights.k_norm);
  rotate(step, q, config.heads, layer);
  rotate(step, k, config.kv_heads, layer);
  step.ops.kv_write(step.stream, KvWriteArgs{.k = step.read(k.data, k.cols),
                                             .v = step.read(v.data, v.cols),
                                             .slot_mapping = slots.data(),
                                             .pages = pages});
  step.ops.attention(step.stream, AttentionArgs{.q = step.read(q.data, q.cols),
                                                .out = step.view(step.scratch.attended, config.q_width()),
                                                .heads = config.heads,
                                                .scale = 1.0f / std::sqrt(static_cast<float>(config.head_dim)),
                                                .window = layer.window,
                                                .seqs = seqs.data(),
                                                .num_seqs = static_cast<std::int32_t>(seqs.size()),
                                                .pages = pages});
  project(step, weights.o, step.read(step.scratch.attended, config.q_width()), step.block_out());
}

}  // namespace foregate
