#include "engine/model/moe_block.h"

#include <algorithm>

#include "engine/model/dense_ffn.h"
#include "kernels/api/check.h"

namespace foregate {
namespace {

View2<float> expert_out(const Step& step) {
  const std::int64_t hidden = step.config.hidden_size;
  return {step.scratch.expert_out, step.rows * step.config.router.top_k, hidden, hidden};
}

// Of the rows of every group, those of drafts.
void count_drafted(const Step& step) {
  StepScratch& s = step.scratch;
  s.group_drafted_rows.clear();
  if (step.input.drafted.empty()) return;
  s.group_drafted_rows.assign(s.group_experts.size(), 0);
  const std::int64_t top_k = step.config.router.top_k;
  for (std::size_t i = 0; i < step.input.seqs.size(); ++i) {
    const std::int64_t end = step.input.seqs[i].first_row + step.input.seqs[i].rows;
    for (std::int64_t at = (end - step.drafted(i)) * top_k; at < end * top_k; ++at) {
      const auto group = std::lower_bound(s.group_experts.begin(), s.group_experts.end(), s.route.host_ids[at]);
      ++s.group_drafted_rows[static_cast<std::size_t>(group - s.group_experts.begin())];
    }
  }
}

}  // namespace

// Counting sort of the assignments by expert: x_rows and out_rows hold each expert's rows together,
// in row order. Rows of one expert keep their order, so the groups depend on the ids alone.
void group_by_expert(const Step& step) {
  StepScratch& s = step.scratch;
  const std::int32_t top_k = step.config.router.top_k;
  const auto assignments = static_cast<std::int32_t>(step.rows) * top_k;
  std::fill(s.group_ends.begin(), s.group_ends.end(), 0);
  for (std::int32_t i = 0; i < assignments; ++i) {
    CHECK(s.route.host_ids[i] >= 0 && s.route.host_ids[i] < step.config.router.experts);
    ++s.group_ends[static_cast<std::size_t>(s.route.host_ids[i])];
  }
  s.groups.clear();
  s.group_experts.clear();
  s.group_rows.clear();
  std::int32_t first = 0;
  for (std::int32_t expert = 0; expert < step.config.router.experts; ++expert) {
    const std::int32_t rows = s.group_ends[static_cast<std::size_t>(expert)];
    s.group_ends[static_cast<std::size_t>(expert)] = first;
    if (rows == 0) continue;
    s.groups.push_back(
        {.weights = {}, .x_rows = s.x_rows.data() + first, .out_rows = s.out_rows.data() + first, .rows = rows});
    s.group_experts.push_back(expert);
    s.group_rows.push_back(rows);
    first += rows;
  }
  for (std::int32_t i = 0; i < assignments; ++i) {
    const auto at = static_cast<std::size_t>(s.group_ends[static_cast<std::size_t>(s.route.host_ids[i])]++);
    s.x_rows[at] = i / top_k;
    s.out_rows[at] = i;
  }
  count_drafted(step);
}

// The op takes experts of one kind per call (args_moe.h); a checkpoint may quantize some experts of a layer only.
void run_groups(const OpTable& ops, Stream& stream, Activation activation, View2<const float> x, View2<float> y,
                float* inner, std::span<ExpertGroup> groups) {
  const auto quantized = [](const ExpertGroup& group) { return is_quantized(group.weights.gate.format); };
  const auto middle = std::partition(groups.begin(), groups.end(), quantized);
  const auto run = [&](auto first, auto last) {
    if (first == last) return;
    ops.expert_ffn(stream, ExpertFfnArgs{.x = x,
                                         .y = y,
                                         .groups = &*first,
                                         .num_groups = static_cast<std::int32_t>(last - first),
                                         .activation = activation,
                                         .scratch = inner});
  };
  run(groups.begin(), middle);
  run(middle, groups.end());
}

void run_groups(const Step& step, std::span<ExpertGroup> groups) {
  run_groups(step.ops, step.stream, step.config.activation, step.block_in(), expert_out(step), step.scratch.ffn_inner,
             groups);
}

void add_shared_expert(const Step& step, const LayerWeights& weights) {
  if (weights.shared.gate.data == nullptr) return;
  StepScratch& s = step.scratch;
  const View2<float> gate = step.view(s.shared_gate, 1);
  run_dense_ffn(step, weights.shared, step.view(s.shared_out, step.config.hidden_size));
  step.ops.linear(step.stream,
                  LinearArgs{.weight = weights.shared_gate, .bias = nullptr, .x = step.block_in(), .y = gate});
  step.ops.sigmoid_gate_add(step.stream, SigmoidGateAddArgs{.gate = step.read(s.shared_gate, 1),
                                                            .y = step.read(s.shared_out, step.config.hidden_size),
                                                            .out = step.block_out()});
}

void combine_groups(const Step& step, const LayerWeights& weights) {
  const View2<float> out = expert_out(step);
  step.ops.moe_combine(step.stream, MoeCombineArgs{.y = {out.data, out.rows, out.cols, out.stride},
                                                   .weights = step.scratch.route.weights,
                                                   .top_k = step.config.router.top_k,
                                                   .out = step.block_out()});
  add_shared_expert(step, weights);
}

}  // namespace foregate
