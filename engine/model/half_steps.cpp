#include "engine/model/half_steps.h"

#include <algorithm>

#include "engine/model/attention.h"
#include "engine/model/dense_ffn.h"
#include "engine/model/moe_block.h"
#include "engine/model/route_tap.h"
#include "engine/model/routing.h"
#include "engine/model/row_ops.h"

namespace foregate {

std::vector<SeqSpan> rows_of_seqs(std::span<const SeqSpan> seqs, std::int64_t first, std::int64_t count) {
  std::vector<SeqSpan> cut;
  for (const SeqSpan& seq : seqs) {
    const std::int64_t begin = std::max<std::int64_t>(seq.first_row, first);
    const std::int64_t end = std::min<std::int64_t>(std::int64_t{seq.first_row} + seq.rows, first + count);
    if (begin >= end) continue;
    SeqSpan part = seq;
    part.first_row = static_cast<std::int32_t>(begin - first);
    part.rows = static_cast<std::int32_t>(end - begin);
    part.first_position += static_cast<std::int32_t>(begin - seq.first_row);
    cut.push_back(part);
  }
  return cut;
}

HalfSteps::HalfSteps(const ModelConfig& config, const ModelWeights& weights, StepScratch& scratch,
                     std::int32_t max_rows, MoeExchange& exchange)
    : config_(config), weights_(weights), scratch_(scratch), exchange_(exchange) {
  for (Half& half : halves_) half.scratch.make_host_arrays(config, (max_rows + 1) / 2);
}

// The second half is no larger than the first (RankExperts::allocate()).
void HalfSteps::cut(const Step& step) {
  const std::int64_t middle = (step.rows + 1) / 2;
  for (const std::int32_t number : {1, 2}) {
    Half& half = at(number);
    const std::int64_t first = number == 1 ? 0 : middle;
    const std::int64_t count = number == 1 ? middle : step.rows - middle;
    const auto rows = [&](auto all) {
      return all.empty() ? all : all.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count));
    };
    half.seqs = rows_of_seqs(step.input.seqs, first, count);
    half.window_seqs = rows_of_seqs(step.input.window_seqs, first, count);
    half.input = {.tokens = rows(step.input.tokens),
                  .positions = rows(step.input.positions),
                  .slot_mapping = rows(step.input.slot_mapping),
                  .seqs = half.seqs,
                  .logit_rows = {},
                  .window_seqs = half.window_seqs,
                  .window_slots = rows(step.input.window_slots)};
    half.scratch.show(config_, scratch_, first);
    half.away = false;
  }
}

// Who counts and traces sees the whole step, in note().
Step HalfSteps::step_of(const Step& whole, std::int32_t half) {
  return {.config = whole.config,
          .ops = whole.ops,
          .stream = whole.stream,
          .scratch = at(half).scratch,
          .input = at(half).input,
          .rows = static_cast<std::int64_t>(at(half).input.tokens.size()),
          .number = whole.number};
}

Result<std::int64_t> HalfSteps::run(const Step& step, KvCache& cache) {
  cut(step);
  std::int64_t bytes = 0;
  const Step halves[] = {step_of(step, 1), step_of(step, 2)};
  const Status ran = run_layers(step, halves, cache, bytes);
  scratch_.route = at(1).scratch.route;
  scratch_.next_route = at(1).scratch.next_route;
  if (!ran.ok()) {
    exchange_.give_up();
    return ran;
  }
  exchange_.ranks().count({.halved_steps = 1});
  return bytes;
}

Status HalfSteps::run_layers(const Step& step, std::span<const Step, 2> halves, KvCache& cache, std::int64_t& bytes) {
  const auto layers = static_cast<std::int32_t>(config_.layers.size());
  for (std::int32_t layer = 0; layer < layers; ++layer) {
    for (const std::int32_t half : {1, 2}) {
      RETURN_IF_ERROR(end_layer(LayerId{layer - 1}, half));
      RETURN_IF_ERROR(begin_layer(halves[static_cast<std::size_t>(half - 1)], LayerId{layer}, cache, half));
    }
    if (config_.layers[static_cast<std::size_t>(layer)].sparse) bytes += note(step, LayerId{layer});
  }
  for (const std::int32_t half : {1, 2}) RETURN_IF_ERROR(end_layer(LayerId{layers - 1}, half));
  return {};
}

Status HalfSteps::begin_layer(const Step& step, LayerId id, KvCache& cache, std::int32_t half) {
  const LayerConfig& layer = config_.layers[static_cast<std::size_t>(id.value)];
  const LayerWeights& weights = weights_.layers[static_cast<std::size_t>(id.value)];
  add_and_norm(step, weights.attention_norm, id.value == 0);
  if (layer.sparse) route_before_attention(step, id, weights);
  run_attention(step, weights.attention, layer, cache.pages(id));
  add_and_norm(step, weights.ffn_norm, false);
  if (layer.sparse) {
    at(half).away = true;
    return exchange_.begin_half(step, id, weights_, half);
  }
  route_next_layer(step, id, weights_.layers);
  run_dense_ffn(step, weights.dense, step.block_out());
  return {};
}

Status HalfSteps::end_layer(LayerId id, std::int32_t half) {
  if (!at(half).away) return {};
  at(half).away = false;
  return exchange_.end_half(id, weights_, half);
}

// Both halves are routed, and what they were routed to lies side by side. Bytes of the experts, each once.
std::int64_t HalfSteps::note(const Step& whole, LayerId id) {
  scratch_.route = at(1).scratch.route;
  scratch_.next_route = at(1).scratch.next_route;
  group_by_expert(whole);
  if (whole.tap != nullptr) whole.tap->tell(whole, id, nullptr);
  exchange_.note_routes(whole, id, weights_);
  return static_cast<std::int64_t>(scratch_.groups.size()) * weights_.expert_bytes[static_cast<std::size_t>(id.value)];
}

}  // namespace foregate
