#include "engine/model/route_tap.h"

#include <algorithm>

#include "engine/io/file.h"

namespace foregate {

namespace {

// Verifying a draft is decoding, however many rows that takes.
bool is_prompt(const Step& step, std::size_t seq) {
  return step.input.seqs[seq].rows - step.drafted(seq) > 1;
}

}  // namespace

UsePhase phase_of(const Step& step) {
  bool prompt = false;
  for (std::size_t i = 0; i < step.input.seqs.size(); ++i) prompt = prompt || is_prompt(step, i);
  return prompt ? UsePhase::kPrefill : UsePhase::kDecode;
}

std::int64_t decoding_rows(const Step& step) {
  for (std::size_t i = 0; i < step.input.seqs.size(); ++i) {
    if (is_prompt(step, i)) return step.input.seqs[i].first_row;
  }
  return step.rows;
}

LayerUse use_of(const Step& step, LayerId id) {
  StepScratch& s = step.scratch;
  LayerUse use{.step = step.number,
               .layer = id,
               .phase = phase_of(step),
               .experts = s.group_experts,
               .rows = s.group_rows,
               .decode_rows = {},
               .drafted_rows = s.group_drafted_rows};
  if (use.phase == UsePhase::kDecode) return use;
  s.group_decode_rows.assign(s.group_experts.size(), 0);
  const std::int64_t top_k = step.config.router.top_k;
  for (std::size_t n = 0; n < step.input.seqs.size(); ++n) {
    if (is_prompt(step, n)) continue;
    const SeqSpan& seq = step.input.seqs[n];
    const std::int32_t* ids = s.route.host_ids + seq.first_row * top_k;
    for (std::int64_t i = 0; i < seq.rows * top_k; ++i) {
      const auto at = std::lower_bound(s.group_experts.begin(), s.group_experts.end(), ids[i]);
      ++s.group_decode_rows[static_cast<std::size_t>(at - s.group_experts.begin())];
    }
  }
  use.decode_rows = s.group_decode_rows;
  return use;
}

TraceInfo trace_info(const std::string& model_name, const ModelConfig& config, const ModelWeights& weights) {
  TraceInfo info;
  info.model = model_name.substr(0, 256);  // what the format takes
  info.top_k = config.router.top_k;
  for (std::size_t i = 0; i < config.layers.size(); ++i) {
    info.experts.push_back(config.layers[i].sparse ? config.router.experts : 0);
    const auto bytes = static_cast<std::uint64_t>(weights.expert_bytes[i]);
    info.expert_bytes.push_back((bytes + kDirectPage - 1) / kDirectPage * kDirectPage);
  }
  if (!weights.store || weights.tier) return info;  // a replay knows no tiers in front of a store
  const ExpertStore& store = *weights.store;
  info.weights_id = store.table().weights_id;
  info.slots = store.stats().slots;
  info.policy = store.policy().name();
  info.counters = store.first_counters();
  const ExpertNumbers numbers(info.experts);
  for (std::int32_t layer = 0; layer < numbers.layers(); ++layer) {
    std::uint64_t& bytes = info.expert_bytes[static_cast<std::size_t>(layer)];
    if (numbers.experts(LayerId{layer}) > 0) bytes = 0;
    for (std::int32_t expert = 0; expert < numbers.experts(LayerId{layer}); ++expert) {
      const ExpertKey key{LayerId{layer}, ExpertId{expert}};
      bytes = std::max(bytes, store.table().extents[numbers.at(key)].bytes);
      if (store.resident(key)) info.resident.push_back(key);
    }
  }
  return info;
}

void RouteTap::tell(const Step& step, LayerId id, const ExpertStore* store) {
  if (step.number != step_) {
    step_ = step.number;
    requests_.resize(static_cast<std::size_t>(step.rows));
    prompt_.resize(static_cast<std::size_t>(step.rows));
    drafted_.assign(step.input.drafted.empty() ? 0 : static_cast<std::size_t>(step.rows), 0);
    for (std::size_t i = 0; i < step.input.seqs.size(); ++i) {
      const SeqSpan& seq = step.input.seqs[i];
      const std::uint64_t request = step.input.requests.empty() ? i : step.input.requests[i];
      std::fill_n(requests_.begin() + seq.first_row, seq.rows, request);
      std::fill_n(prompt_.begin() + seq.first_row, seq.rows, static_cast<std::uint8_t>(is_prompt(step, i)));
      std::fill_n(drafted_.begin() + (drafted_.empty() ? 0 : seq.first_row + seq.rows - step.drafted(i)),
                  step.drafted(i), std::uint8_t{1});
    }
  }
  const auto assignments = static_cast<std::size_t>(step.rows * step.config.router.top_k);
  const std::span<const std::int32_t> ids{step.scratch.route.host_ids, assignments};
  resident_.clear();
  if (store != nullptr) {
    for (const std::int32_t expert : ids) resident_.push_back(store->found({id, ExpertId{expert}}) ? 1 : 0);
  }
  sink_.on_routes({.step = step.number,
                   .phase = phase_of(step),
                   .layer = id,
                   .requests = requests_,
                   .positions = step.input.positions,
                   .ids = ids,
                   .weights = {step.scratch.route.host_weights, assignments},
                   .resident = resident_,
                   .prompt = prompt_,
                   .reads_ahead = store != nullptr && store->reads_ahead(phase_of(step)),
                   .drafted = drafted_});
}

}  // namespace foregate
