#include "engine/model/rows_here.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "engine/model/attention.h"
#include "engine/model/dense_ffn.h"
#include "engine/model/moe_block.h"
#include "engine/model/row_ops.h"
#include "kernels/api/check.h"

namespace foregate {

RowsHere::RowsHere(const ModelConfig& config, const ModelWeights& weights, StepScratch& scratch, const OpTable& ops,
                   Stream& stream, RankId rank, const PlacementPlan& plan)
    : config_(config),
      weights_(weights),
      scratch_(scratch),
      ops_(ops),
      stream_(stream),
      rank_(rank),
      plan_(plan),
      frequencies_(rope_frequencies_of(config)),
      by_expert_(static_cast<std::size_t>(config.router.experts)) {}

Step RowsHere::step() const {
  return {.config = config_,
          .ops = ops_,
          .stream = stream_,
          .scratch = scratch_,
          .input = input_,
          .rows = static_cast<std::int64_t>(rows_.size())};
}

void RowsHere::clear(std::int32_t block_size) {
  block_size_ = block_size;
  rows_.clear();
  ids_.clear();
  route_weights_.clear();
  here_.clear();
  awaited_ = 0;
}

void RowsHere::start(std::vector<RowAt> rows) {
  rows_ = std::move(rows);
  arrange();
}

void RowsHere::arrange() {
  positions_.clear();
  slots_.clear();
  seqs_.clear();
  for (const RowAt& at : rows_) {
    const std::int32_t block = at.blocks[static_cast<std::size_t>(at.position / block_size_)];
    seqs_.push_back({static_cast<std::int32_t>(positions_.size()), 1, at.position, at.blocks.data()});
    positions_.push_back(at.position);
    slots_.push_back(std::int64_t{block} * block_size_ + at.position % block_size_);
  }
  input_ = {.tokens = {}, .positions = positions_, .slot_mapping = slots_, .seqs = seqs_, .logit_rows = {}};
  if (!rows_.empty()) load_ropes(config_, frequencies_, positions_, scratch_, stream_);
}

void RowsHere::attend(LayerId id, const KvPages& pages) {
  if (rows_.empty()) return;
  const Step here = step();
  add_and_norm(here, layer(id).attention_norm, id.value == 0);
  run_attention(here, layer(id).attention, config_.layers[static_cast<std::size_t>(id.value)], pages);
  add_and_norm(here, layer(id).ffn_norm, false);
  stream_.synchronize();
}

void RowsHere::run_dense(LayerId id) {
  if (rows_.empty()) return;
  const Step here = step();
  run_dense_ffn(here, layer(id).dense, here.block_out());
}

void RowsHere::route(LayerId id) {
  const auto k = static_cast<std::size_t>(config_.router.top_k);
  ids_.resize(rows_.size() * k);
  route_weights_.resize(rows_.size() * k);
  here_.assign(rows_.size() * k, 0);
  awaited_ = static_cast<std::int64_t>(here_.size());
  if (rows_.empty()) return;
  layer(id).router.route(ops_, stream_, step().block_in(), scratch_.router_logits, ids_.data(), route_weights_.data());
  stream_.synchronize();
}

void RowsHere::move_row(std::int64_t from, std::int64_t to) {
  const auto hidden = static_cast<std::size_t>(config_.hidden_size);
  const auto k = static_cast<std::size_t>(config_.router.top_k);
  const auto a = static_cast<std::size_t>(from), b = static_cast<std::size_t>(to);
  std::memcpy(scratch_.hidden + b * hidden, scratch_.hidden + a * hidden, hidden * sizeof(float));
  std::memcpy(scratch_.normed + b * hidden, scratch_.normed + a * hidden, hidden * sizeof(float));
  std::copy_n(ids_.begin() + static_cast<std::ptrdiff_t>(a * k), k, ids_.begin() + static_cast<std::ptrdiff_t>(b * k));
  std::copy_n(route_weights_.begin() + static_cast<std::ptrdiff_t>(a * k), k,
              route_weights_.begin() + static_cast<std::ptrdiff_t>(b * k));
  rows_[b] = std::move(rows_[a]);
}

// Before any expert ran, so that nothing but what was routed moves with a row.
void RowsHere::keep(std::span<const std::uint8_t> stays) {
  std::int64_t kept = 0;
  for (std::int64_t i = 0; i < count(); ++i) {
    if (stays[static_cast<std::size_t>(i)] == 0) continue;
    if (kept != i) move_row(i, kept);
    ++kept;
  }
  if (kept == count()) return;
  const auto assignments = static_cast<std::size_t>(kept * config_.router.top_k);
  rows_.resize(static_cast<std::size_t>(kept));
  ids_.resize(assignments);
  route_weights_.resize(assignments);
  here_.assign(assignments, 0);
  awaited_ = static_cast<std::int64_t>(assignments);
  arrange();
}

// The norm and the router on the joined rows alone: a row's values do not depend on the others.
void RowsHere::join(LayerId id, std::vector<RowAt> rows, std::span<const float> hidden) {
  if (rows.empty()) return;
  const std::int64_t width = config_.hidden_size, first = count(), joined = static_cast<std::int64_t>(rows.size());
  CHECK(static_cast<std::int64_t>(hidden.size()) == joined * width);
  std::memcpy(scratch_.hidden + first * width, hidden.data(), hidden.size_bytes());
  for (RowAt& row : rows) rows_.push_back(std::move(row));
  arrange();
  const auto assignments = static_cast<std::size_t>(count() * config_.router.top_k);
  ids_.resize(assignments);
  route_weights_.resize(assignments);
  here_.resize(assignments, 0);
  awaited_ += joined * config_.router.top_k;
  const View2<float> normed{scratch_.normed + first * width, joined, width, width};
  ops_.rms_norm(stream_, RmsNormArgs{.x = {scratch_.hidden + first * width, joined, width, width},
                                     .residual = {},
                                     .weight = layer(id).ffn_norm,
                                     .eps = config_.rms_norm_eps,
                                     .out = normed});
  layer(id).router.route(ops_, stream_, {normed.data, joined, width, width}, scratch_.router_logits,
                         ids_.data() + first * config_.router.top_k,
                         route_weights_.data() + first * config_.router.top_k);
  stream_.synchronize();
}

void RowsHere::run_held(LayerId id, std::int64_t first) {
  const std::int32_t top_k = config_.router.top_k;
  for (std::int64_t at = first * top_k; at < count() * top_k; ++at) {
    const std::int32_t expert = ids_[static_cast<std::size_t>(at)];
    if (!plan_.holds(rank_, id, ExpertId{expert})) continue;
    by_expert_[static_cast<std::size_t>(expert)].push_back(static_cast<std::int32_t>(at));
    here_[static_cast<std::size_t>(at)] = 1;
    --awaited_;
  }
  x_rows_.clear();
  out_rows_.clear();
  groups_.clear();
  const auto most = static_cast<std::size_t>((count() - first) * top_k);
  x_rows_.reserve(most);  // the groups point into them
  out_rows_.reserve(most);
  for (std::size_t e = 0; e < by_expert_.size(); ++e) {
    std::vector<std::int32_t>& of_expert = by_expert_[e];
    if (of_expert.empty()) continue;
    groups_.push_back({.weights = weights_.experts.get({id, ExpertId{static_cast<std::int32_t>(e)}}),
                       .x_rows = x_rows_.data() + x_rows_.size(),
                       .out_rows = out_rows_.data() + out_rows_.size(),
                       .rows = static_cast<std::int32_t>(of_expert.size())});
    for (const std::int32_t at : of_expert) {
      x_rows_.push_back(at / top_k);
      out_rows_.push_back(at);
    }
    of_expert.clear();
  }
  if (groups_.empty()) return;
  run_groups(step(), groups_);
  stream_.synchronize();
}

bool RowsHere::place(std::int64_t index, std::int32_t slot, const float* output) {
  if (index < 0 || index >= count() || slot < 0 || slot >= config_.router.top_k) return false;
  const auto at = static_cast<std::size_t>(index * config_.router.top_k + slot);
  if (here_[at] != 0) return false;
  here_[at] = 1;
  --awaited_;
  const auto hidden = static_cast<std::size_t>(config_.hidden_size);
  std::memcpy(scratch_.expert_out + at * hidden, output, hidden * sizeof(float));
  return true;
}

// INV-21: in slot order, wherever the outputs came from.
void RowsHere::combine(LayerId id) {
  if (rows_.empty()) return;
  CHECK(awaited_ == 0);
  const Step here = step();
  const std::int64_t hidden = config_.hidden_size;
  ops_.moe_combine(stream_, MoeCombineArgs{.y = {scratch_.expert_out, here.rows * config_.router.top_k, hidden, hidden},
                                           .weights = route_weights_.data(),
                                           .top_k = config_.router.top_k,
                                           .out = here.block_out()});
  add_shared_expert(here, layer(id));
}

void RowsHere::last_norm() {
  if (rows_.empty()) return;
  add_and_norm(step(), weights_.final_norm, false);
  stream_.synchronize();
}

std::span<const std::int32_t> RowsHere::ids(std::int64_t index) const {
  const auto k = static_cast<std::size_t>(config_.router.top_k);
  return std::span(ids_).subspan(static_cast<std::size_t>(index) * k, k);
}

std::span<const float> RowsHere::route_weights(std::int64_t index) const {
  const auto k = static_cast<std::size_t>(config_.router.top_k);
  return std::span(route_weights_).subspan(static_cast<std::size_t>(index) * k, k);
}

}  // namespace foregate
