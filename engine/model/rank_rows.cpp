#include "engine/model/rank_rows.h"

#include <algorithm>
#include <string>
#include <utility>

#include "engine/comm/body.h"
#include "engine/kv/kv_positions.h"
#include "engine/model/transformer.h"
#include "engine/placement/travel.h"

namespace foregate {

RankRows::RankRows(const ModelConfig& config, const ModelWeights& weights, StepScratch scratch, RankId rank,
                   const PlacementPlan& plan, std::int32_t max_rows, Device& device, const OpTable& ops, Stream& stream)
    : config_(config),
      scratch_(std::move(scratch)),
      rank_(rank),
      plan_(plan),
      device_(device),
      limits_{.max_rows = max_rows,
              .top_k = config.router.top_k,
              .hidden = config.hidden_size,
              .layers = static_cast<std::int32_t>(config.layers.size())},
      rows_(config, weights, scratch_, ops, stream, rank, plan_) {}

Result<std::unique_ptr<RankRows>> RankRows::create(const ModelConfig& config, const ModelWeights& weights, RankId rank,
                                                   const PlacementPlan& plan, std::int32_t max_rows, Device& device,
                                                   const OpTable& ops, Stream& stream) {
  ASSIGN_OR_RETURN(StepScratch scratch, StepScratch::create(config, max_rows, device));
  return std::unique_ptr<RankRows>(
      new RankRows(config, weights, std::move(scratch), rank, plan, max_rows, device, ops, stream));
}

std::size_t RankRows::bytes_of_position(LayerId layer) const {
  return layer.value < limits_.layers ? position_bytes(cache_->pages(layer)) : 0;
}

std::uint64_t RankRows::most_bytes() const {
  std::uint64_t most = std::max<std::uint64_t>(64, max_join_bytes(limits_));
  if (!cache_) return most;
  for (std::int32_t l = 0; l < limits_.layers; ++l) {
    most = std::max(most, max_layer_bytes(limits_, bytes_of_position(LayerId{l})));
  }
  return most;
}

// Where there is no memory for it, the rank says so when it is asked for a layer.
Status RankRows::context(std::span<const std::byte> body) {
  ASSIGN_OR_RETURN(const ContextShape shape, read_context(body));
  cache_.reset();
  rows_.clear(shape.block_size);
  step_ = 0;
  limits_.blocks = shape.blocks;
  limits_.block_size = shape.block_size;
  auto made = KvCache::create(device_, kv_layout_of(config_, shape.type, shape.block_size), shape.blocks);
  no_cache_ = made.status();
  if (made.ok()) cache_.emplace(std::move(made).value());
  return {};
}

Status RankRows::join(std::span<const std::byte> body) {
  if (!no_cache_.ok()) return {};
  if (!cache_) return data_loss("rows move before the context");
  RETURN_IF_ERROR(read_join(body, limits_, joined_));
  if (joined_.step != step_) rows_.clear(limits_.block_size);
  const bool sparse = config_.layers[static_cast<std::size_t>(joined_.layer.value)].sparse;
  const bool in_turn = rows_.count() == 0 || (routed_ && joined_.layer.value + 1 == next_.value);
  if (!sparse || !in_turn)
    return data_loss("rows move to layer " + std::to_string(joined_.layer.value) + " out of turn");
  if (rows_.rows().size() + joined_.rows.size() > static_cast<std::size_t>(limits_.max_rows)) {
    return data_loss("more rows than a step has");
  }
  step_ = joined_.step;
  next_ = LayerId{joined_.layer.value + 1};
  routed_ = true;
  const std::int64_t first = rows_.count();
  rows_.join(joined_.layer, std::move(joined_.rows), joined_.hidden);
  rows_.run_held(joined_.layer, first);
  return {};
}

// Outputs that were awaited, and the context. The layer before has run then.
Status RankRows::begin_layer(const LayerRows& asked) {
  if (routed_) {
    const auto hidden = static_cast<std::size_t>(limits_.hidden);
    for (std::size_t i = 0; i < asked.outputs.size(); ++i) {
      if (!rows_.place(asked.outputs[i].index, asked.outputs[i].slot, asked.values.data() + i * hidden)) {
        return data_loss("an output that is not awaited");
      }
    }
    if (rows_.awaited() != 0) return data_loss("an output is awaited");
    rows_.combine(LayerId{asked.layer.value - 1});
  } else if (!asked.outputs.empty()) {
    return data_loss("an output of a layer without experts");
  }
  routed_ = false;
  const std::byte* at = asked.positions.data();
  for (const ContextSpan& span : asked.context) {
    const KvPages pages = cache_->pages(asked.layer);
    for (std::int32_t p = span.first; p < span.first + span.count; ++p, at += position_bytes(pages)) {
      write_position(pages, span.block, p, at);
    }
  }
  return {};
}

Status RankRows::layer(std::span<const std::byte> body) {
  if (!no_cache_.ok()) return no_cache_;
  if (!cache_ || rows_.count() == 0) return data_loss("a layer for no rows");
  RETURN_IF_ERROR(read_layer(body, limits_, bytes_of_position(next_), asked_));
  if (asked_.layer != next_) return data_loss("layer " + std::to_string(asked_.layer.value) + " out of turn");
  RETURN_IF_ERROR(begin_layer(asked_));
  if (next_.value == limits_.layers) {
    rows_.last_norm();
    write_wanted();
    rows_.clear(limits_.block_size);
    step_ = 0;
    return {};
  }
  rows_.attend(next_, cache_->pages(next_));
  routed_ = config_.layers[static_cast<std::size_t>(next_.value)].sparse;
  if (routed_) {
    rows_.route(next_);
  } else {
    rows_.run_dense(next_);
  }
  write_done(next_, routed_);
  next_ = LayerId{next_.value + 1};
  return {};
}

// Keys and values of all rows; of layers with experts how each is routed, the residual stream of those that leave, and
// the FFN's input of those that stay and need experts elsewhere.
void RankRows::write_done(LayerId layer, bool sparse) {
  BodyWriter writer(answer_);
  const KvPages pages = cache_->pages(layer);
  const std::size_t bytes = position_bytes(pages);
  for (const RowAt& at : rows_.rows()) {
    const std::int32_t block = at.blocks[static_cast<std::size_t>(at.position / limits_.block_size)];
    read_position(pages, block, at.position % limits_.block_size, writer.grow(bytes));
  }
  stays_.assign(rows_.rows().size(), 1);
  if (!sparse) return;
  for (std::int64_t i = 0; i < rows_.count(); ++i) writer.put(rows_.ids(i));
  for (std::int64_t i = 0; i < rows_.count(); ++i) writer.put(rows_.route_weights(i));
  for (std::int64_t i = 0; i < rows_.count(); ++i) {
    const auto ids = rows_.ids(i);
    const bool stays = next_rank(plan_, rank_, layer, ids) == rank_;
    stays_[static_cast<std::size_t>(i)] = stays ? 1 : 0;
    const bool all =
        std::all_of(ids.begin(), ids.end(), [&](std::int32_t id) { return plan_.holds(rank_, layer, ExpertId{id}); });
    const float* const values = stays ? rows_.normed(i) : rows_.hidden(i);
    if (!all) writer.put(std::span(values, static_cast<std::size_t>(limits_.hidden)));
  }
}

void RankRows::write_wanted() {
  BodyWriter writer(answer_);
  for (std::int64_t i = 0; i < rows_.count(); ++i) {
    if (!rows_.rows()[static_cast<std::size_t>(i)].wanted) continue;
    writer.put(std::span(rows_.normed(i), static_cast<std::size_t>(limits_.hidden)));
  }
}

void RankRows::go_on() {
  if (!routed_ || rows_.count() == 0) return;
  rows_.keep(stays_);
  rows_.run_held(LayerId{next_.value - 1}, 0);
}

}  // namespace foregate
