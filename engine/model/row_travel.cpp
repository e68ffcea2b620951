#include "engine/model/row_travel.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "engine/comm/body.h"
#include "engine/kv/kv_positions.h"
#include "engine/model/moe_block.h"
#include "engine/model/route_tap.h"
#include "engine/model/routing.h"
#include "engine/placement/travel.h"

namespace foregate {
namespace {

RowShape shape_of(const ModelConfig& config) {
  return {.hidden = config.hidden_size, .context = 2 * config.kv_width(), .value_bytes = sizeof(float)};
}

// The first position that a row of the layer attends to.
std::int32_t first_seen(const LayerConfig& layer, std::int32_t position) {
  return layer.window > 0 ? std::max(0, position - layer.window + 1) : 0;
}

// Each row the one of its sequence, none drafted, and no hidden states asked for, which rank 0 would not have.
bool row_each(const Step& step) {
  return step.drafts == nullptr && step.input.hidden_out.empty() && step.input.tokens.size() == step.input.seqs.size();
}

}  // namespace

RowTravel::RowTravel(const ModelConfig& config, const ModelWeights& weights, StepScratch& scratch, const OpTable& ops,
                     Stream& stream, MoeExchange& exchange, ExchangeMode mode)
    : config_(config),
      weights_(weights),
      scratch_(scratch),
      ops_(ops),
      stream_(stream),
      exchange_(exchange),
      ranks_(exchange.ranks()),
      plan_(ranks_.plan()),
      mode_(mode),
      choice_(plan_, shape_of(config)),
      own_(config, weights, scratch, ops, stream, RankId{0}, plan_),
      away_(static_cast<std::size_t>(plan_.ranks())),
      help_(away_.size()) {}

Status RowTravel::check(const ModelConfig& config) {
  for (std::size_t i = 0; i < config.layers.size(); ++i) {
    const bool own_input = router_source(config, LayerId{static_cast<std::int32_t>(i)}) == RouterSource::kFfnInput;
    if (!config.layers[i].sparse || own_input) continue;
    return unimplemented("tokens do not stay where their experts are in models whose routers run before attention",
                         "exchange");
  }
  return {};
}

void RowTravel::begin_step(const Step& step, const KvCache& cache) {
  const std::int32_t block_size = cache.layout().block_size;
  if (!mirror_ || versions_.size() != static_cast<std::size_t>(cache.num_blocks())) {
    mirror_.emplace(plan_.ranks(), config_.layers.size(), cache.num_blocks(), block_size);
    versions_.assign(static_cast<std::size_t>(cache.num_blocks()), 0);
    for (Away& away : away_) away.open = false;
  }
  for (const SeqSpan& seq : step.input.seqs) {
    const std::int32_t last = seq.first_position + seq.rows - 1;
    const std::int32_t window = cache.layout().window();
    const std::int32_t first = window > 0 ? std::max(0, seq.first_position - window + 1) : 0;
    for (std::int32_t b = first / block_size; b <= last / block_size; ++b) {
      const std::int32_t block = seq.block_table[b];
      std::uint32_t& known = versions_[static_cast<std::size_t>(block)];
      if (std::exchange(known, cache.version(BlockId{block})) != known) mirror_->changed(block, 0);
    }
  }
  for (const std::int64_t slot : step.input.slot_mapping) {
    mirror_->changed(static_cast<std::int32_t>(slot / block_size), static_cast<std::int32_t>(slot % block_size));
  }
  eligible_ = row_each(step);
  if (eligible_) choice_.begin_step(static_cast<std::size_t>(step.rows));
}

bool RowTravel::takes(const Step& step) const {
  return row_each(step) && (mode_ == ExchangeMode::kOneAllToAll || choice_.form() == ExchangeForm::kOneAllToAll);
}

void RowTravel::observe(const Step& step, LayerId layer) {
  if (!eligible_) return;
  const auto k = static_cast<std::size_t>(config_.router.top_k);
  choice_.routed(layer, {step.scratch.route.host_ids, static_cast<std::size_t>(step.rows) * k}, config_.router.top_k);
}

void RowTravel::end_step() {
  if (eligible_) choice_.end_step();
}

Result<std::int64_t> RowTravel::run(const Step& step, KvCache& cache) {
  ++step_;
  crossed_ = {.one_all_to_all_steps = 1};
  std::int64_t bytes = 0;
  const Status ran = run_layers(step, cache, bytes);
  if (!ran.ok()) drain();
  ranks_.count(crossed_);
  RETURN_IF_ERROR(ran);
  return bytes;
}

Status RowTravel::run_layers(const Step& step, KvCache& cache, std::int64_t& bytes) {
  const std::int32_t block_size = cache.layout().block_size;
  std::vector<RowAt> rows(static_cast<std::size_t>(step.rows));
  for (const SeqSpan& seq : step.input.seqs) {
    RowAt& at = rows[static_cast<std::size_t>(seq.first_row)];
    at = {.row = seq.first_row, .position = seq.first_position, .blocks = {}};
    at.blocks.assign(seq.block_table, seq.block_table + at.position / block_size + 1);
    // Blocks that no window reaches any more may be anybody's.
    const std::int32_t window = cache.layout().window();
    const std::int32_t first = window > 0 ? std::max(0, at.position - window + 1) / block_size : 0;
    std::fill_n(at.blocks.begin(), first, 0);
  }
  for (const std::int32_t row : step.input.logit_rows) rows[static_cast<std::size_t>(row)].wanted = true;
  own_.clear(block_size);
  own_.start(std::move(rows));
  for (Away& away : away_) {
    away.rows.clear();
    away.normed.clear();
    away.next = {};
  }
  const auto k = static_cast<std::size_t>(config_.router.top_k);
  ids_.assign(static_cast<std::size_t>(step.rows) * k, 0);
  route_weights_.assign(ids_.size(), 0.0f);
  for (std::int32_t l = 0; l < static_cast<std::int32_t>(config_.layers.size()); ++l) {
    const LayerId layer{l};
    const bool sparse = config_.layers[static_cast<std::size_t>(l)].sparse;
    deadline_ = ranks_.answer_deadline();
    RETURN_IF_ERROR(ask(layer, cache));
    own_.attend(layer, cache.pages(layer));
    if (sparse) own_.route(layer);
    moved_.clear();
    RETURN_IF_ERROR(receive_done(layer, cache));
    if (!sparse) {
      own_.run_dense(layer);
      continue;
    }
    RETURN_IF_ERROR(run_sparse(step, layer, cache));
    bytes += static_cast<std::int64_t>(scratch_.groups.size()) * weights_.expert_bytes[static_cast<std::size_t>(l)];
  }
  return finish(step, cache);
}

Status RowTravel::run_sparse(const Step& step, LayerId layer, const KvCache& cache) {
  note_own(layer);
  account(step, layer);
  RETURN_IF_ERROR(move_rows(layer, cache));
  find_help(layer);
  RETURN_IF_ERROR(send_help());
  own_.run_held(layer, 0);
  run_own_help(layer);
  RETURN_IF_ERROR(receive_help());
  own_.combine(layer);
  return {};
}

std::span<const std::int32_t> RowTravel::ids_of(const RowAt& at) const {
  const auto k = static_cast<std::size_t>(config_.router.top_k);
  return std::span(ids_).subspan(static_cast<std::size_t>(at.row) * k, k);
}

// What the ranks with rows lack to run the layer.
Status RowTravel::ask(LayerId layer, const KvCache& cache) {
  for (std::int32_t r = 1; r < plan_.ranks(); ++r) {
    Away& there = away(RankId{r});
    if (there.rows.empty()) continue;
    there.next.layer = layer;
    if (layer.value < static_cast<std::int32_t>(config_.layers.size())) add_context(layer, cache, RankId{r});
    write_layer(there.next, body_);
    crossed_.rows += there.next.outputs.size();
    crossed_.context_bytes += there.next.positions.size();
    there.next = {};
    RETURN_IF_ERROR(send(RankId{r}, MessageKind::kLayer, true));
  }
  return {};
}

void RowTravel::add_context(LayerId layer, const KvCache& cache, RankId rank) {
  LayerRows& next = away(rank).next;
  const LayerConfig& config = config_.layers[static_cast<std::size_t>(layer.value)];
  for (const RowAt& at : away(rank).rows) {
    mirror_->bring(rank, layer, at.blocks, first_seen(config, at.position), at.position, next.context);
  }
  const KvPages pages = cache.pages(layer);
  std::size_t positions = 0;
  for (const ContextSpan& span : next.context) positions += static_cast<std::size_t>(span.count);
  next.positions.resize(positions * position_bytes(pages));
  std::byte* at = next.positions.data();
  for (const ContextSpan& span : next.context) {
    for (std::int32_t p = span.first; p < span.first + span.count; ++p, at += position_bytes(pages)) {
      read_position(pages, span.block, p, at);
    }
  }
}

Status RowTravel::receive_done(LayerId layer, KvCache& cache) {
  const auto k = static_cast<std::size_t>(config_.router.top_k);
  const std::size_t most_row = position_bytes(cache.pages(layer)) + k * (sizeof(std::int32_t) + sizeof(float)) +
                               static_cast<std::size_t>(config_.hidden_size) * sizeof(float);
  for (std::int32_t r = 1; r < plan_.ranks(); ++r) {
    if (away(RankId{r}).asked == 0) continue;
    ASSIGN_OR_RETURN(const Message done,
                     receive(RankId{r}, MessageKind::kLayerDone, away(RankId{r}).rows.size() * most_row));
    const Status read = read_done(layer, cache, RankId{r}, done.body);
    if (read.ok()) continue;
    ranks_.drop(RankId{r}, read);
    return of_rank(RankId{r}, read);
  }
  return {};
}

// INV-23: keys and values of every row come to rank 0 with the layer that made them, so a rank takes nothing with it.
Status RowTravel::read_done(LayerId layer, KvCache& cache, RankId rank, std::span<const std::byte> body) {
  const Status cut = data_loss("the answer to a layer does not hold what is due");
  const KvPages pages = cache.pages(layer);
  Away& there = away(rank);
  BodyReader reader(body);
  for (const RowAt& at : there.rows) {
    std::span<const std::byte> bytes;
    if (!reader.skip(position_bytes(pages), bytes)) return cut;
    const std::int32_t block = at.blocks[static_cast<std::size_t>(at.position / pages.block_size)];
    write_position(pages, block, at.position % pages.block_size, bytes.data());
    mirror_->computed(rank, layer, block, at.position % pages.block_size);
    crossed_.context_bytes += bytes.size();
  }
  if (!config_.layers[static_cast<std::size_t>(layer.value)].sparse) return reader.left() == 0 ? Status() : cut;
  const auto k = static_cast<std::size_t>(config_.router.top_k);
  for (const RowAt& at : there.rows) {
    if (!reader.take(std::span(ids_).subspan(static_cast<std::size_t>(at.row) * k, k))) return cut;
    for (const std::int32_t id : ids_of(at)) {
      if (id < 0 || id >= config_.router.experts) return data_loss("a row is routed to expert " + std::to_string(id));
    }
  }
  for (const RowAt& at : there.rows) {
    if (!reader.take(std::span(route_weights_).subspan(static_cast<std::size_t>(at.row) * k, k))) return cut;
  }
  std::vector<RowAt> stay;
  there.normed.clear();
  for (RowAt& at : there.rows) {
    const auto ids = ids_of(at);
    const RankId to = next_rank(plan_, rank, layer, ids);
    std::vector<float> values;
    if (to != rank ||
        !std::all_of(ids.begin(), ids.end(), [&](auto id) { return plan_.holds(rank, layer, ExpertId{id}); })) {
      values.resize(static_cast<std::size_t>(config_.hidden_size));
      if (!reader.take(std::span(values))) return cut;
      ++crossed_.rows;
    }
    if (to != rank) {
      moved_.push_back({std::move(at), to, std::move(values)});
      continue;
    }
    stay.push_back(std::move(at));
    there.normed.push_back(std::move(values));
  }
  there.rows = std::move(stay);
  return reader.left() == 0 ? Status() : cut;
}

// How rank 0's own rows are routed; those that leave are on their way.
void RowTravel::note_own(LayerId layer) {
  const auto k = static_cast<std::size_t>(config_.router.top_k);
  const auto hidden = static_cast<std::size_t>(config_.hidden_size);
  std::vector<std::uint8_t> stays(own_.rows().size(), 1);
  for (std::int64_t i = 0; i < own_.count(); ++i) {
    const RowAt& at = own_.rows()[static_cast<std::size_t>(i)];
    const auto first = static_cast<std::ptrdiff_t>(static_cast<std::size_t>(at.row) * k);
    std::copy_n(own_.ids(i).begin(), k, ids_.begin() + first);
    std::copy_n(own_.route_weights(i).begin(), k, route_weights_.begin() + first);
    const RankId to = next_rank(plan_, RankId{0}, layer, own_.ids(i));
    if (to == RankId{0}) continue;
    stays[static_cast<std::size_t>(i)] = 0;
    moved_.push_back({at, to, {own_.hidden(i), own_.hidden(i) + hidden}});
  }
  own_.keep(stays);
}

// Whatever asks how rows are routed sees the whole step.
void RowTravel::account(const Step& step, LayerId layer) {
  std::copy(ids_.begin(), ids_.end(), scratch_.route.host_ids);
  std::copy(route_weights_.begin(), route_weights_.end(), scratch_.route.host_weights);
  group_by_expert(step);
  if (step.tap != nullptr) step.tap->tell(step, layer, nullptr);
  exchange_.note_routes(step, layer, weights_);
  observe(step, layer);
}

Status RowTravel::finish(const Step& step, const KvCache& cache) {
  const LayerId end{static_cast<std::int32_t>(config_.layers.size())};
  const auto hidden = static_cast<std::size_t>(config_.hidden_size);
  deadline_ = ranks_.answer_deadline();
  RETURN_IF_ERROR(ask(end, cache));
  own_.last_norm();
  last_.assign(static_cast<std::size_t>(step.rows) * hidden, 0.0f);
  const auto place = [&](const RowAt& at) {
    return std::span(last_).subspan(static_cast<std::size_t>(at.row) * hidden, hidden);
  };
  for (std::int64_t i = 0; i < own_.count(); ++i) {
    std::copy_n(own_.normed(i), hidden, place(own_.rows()[static_cast<std::size_t>(i)]).data());
  }
  for (std::int32_t r = 1; r < plan_.ranks(); ++r) {
    Away& there = away(RankId{r});
    if (there.asked == 0) continue;
    ASSIGN_OR_RETURN(const Message done,
                     receive(RankId{r}, MessageKind::kLayerDone, there.rows.size() * hidden * sizeof(float)));
    BodyReader reader(done.body);
    for (const RowAt& at : there.rows) {
      if (at.wanted && !reader.take(place(at))) return of_rank(RankId{r}, data_loss("a row is missing at the end"));
      crossed_.rows += at.wanted ? 1 : 0;
    }
    there.rows.clear();
  }
  std::memcpy(scratch_.normed, last_.data(), last_.size() * sizeof(float));
  return {};
}

}  // namespace foregate
