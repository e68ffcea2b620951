// What RowTravel does between the router and the combination of a layer: rows move, and experts elsewhere help.
#include <algorithm>
#include <cstring>
#include <numeric>
#include <string>
#include <utility>

#include "engine/model/moe_block.h"
#include "engine/model/row_travel.h"
#include "engine/placement/travel.h"

namespace foregate {

// The line as it is now; of a new one nothing is known.
Status RowTravel::reach(RankId rank, const KvCache* context) {
  Away& there = away(rank);
  auto line = ranks_.line(rank);
  if (!line.ok()) return of_rank(rank, line.status());
  if (there.line != *line) {
    if (!there.rows.empty()) return of_rank(rank, unavailable("it began anew while it had rows"));
    there.line = std::move(*line);
    there.open = false;
  }
  if (context == nullptr || there.open) return {};
  mirror_->forget(rank);
  std::vector<std::byte> kept;
  std::swap(kept, body_);
  write_context(
      {.type = context->layout().type, .block_size = context->layout().block_size, .blocks = context->num_blocks()},
      body_);
  RETURN_IF_ERROR(send(rank, MessageKind::kContext, false));
  std::swap(kept, body_);
  there.open = true;
  return {};
}

Status RowTravel::send(RankId rank, MessageKind kind, bool answered) {
  Away& there = away(rank);
  const std::uint64_t epoch = exchange_.next_epoch();
  if (const Status sent = there.line->send(kind, epoch, body_, deadline_); !sent.ok()) {
    ranks_.drop(rank, sent);
    return of_rank(rank, sent);
  }
  crossed_.bytes += kMessageHeaderBytes + body_.size();
  if (answered) there.asked = epoch;
  return {};
}

Result<Message> RowTravel::receive(RankId rank, MessageKind kind, std::uint64_t most_bytes) {
  Away& there = away(rank);
  const std::uint64_t epoch = std::exchange(there.asked, 0);
  auto got = there.line->receive(
      {.least_epoch = epoch, .most_epoch = epoch, .most_bytes = std::max(most_bytes, kMaxFailureBytes)}, deadline_);
  Status failed = got.status();
  if (got.ok()) {
    crossed_.bytes += kMessageHeaderBytes + got->body.size();
    if (got->kind == kind) return got;
    if (got->kind == MessageKind::kFailed) {
      failed = read_failure(got->body);
      // It said so in order, and goes on.
      if (failed.code() != Code::kDataLoss || !failed.message().empty()) {
        return Status(failed.code(), "rank " + std::to_string(rank.value) + ": " + failed.message());
      }
    }
    failed = data_loss("an answer to another question");
  }
  ranks_.drop(rank, failed);
  return of_rank(rank, failed);
}

// INV-22: after a failure what is due is read, or its rank dropped. What ranks have of the context is not relied on.
void RowTravel::drain() {
  for (std::int32_t r = 1; r < plan_.ranks(); ++r) {
    Away& there = away(RankId{r});
    const std::uint64_t epoch = std::exchange(there.asked, 0);
    if (epoch > 0) {
      const auto got =
          there.line->receive({.least_epoch = epoch, .most_epoch = epoch, .most_bytes = UINT64_MAX}, deadline_);
      if (!got.ok()) ranks_.drop(RankId{r}, got.status());
    }
    there.rows.clear();
    there.open = false;
  }
}

// Each row that moves goes behind those that are at its rank.
Status RowTravel::move_rows(LayerId layer, const KvCache& cache) {
  needs_.clear();
  crossed_.moves += moved_.size();
  for (std::int32_t r = 0; r < plan_.ranks(); ++r) {
    JoinRows join{.step = step_, .layer = layer, .rows = {}, .hidden = {}};
    std::vector<std::vector<float>> normed;
    for (Moved& moved : moved_) {
      if (moved.to != RankId{r}) continue;
      join.hidden.insert(join.hidden.end(), moved.hidden.begin(), moved.hidden.end());
      const auto ids = ids_of(moved.at);
      const bool all = std::all_of(ids.begin(), ids.end(),
                                   [&](std::int32_t id) { return plan_.holds(moved.to, layer, ExpertId{id}); });
      if (r > 0) normed.push_back(all ? std::vector<float>() : norm_of(layer, std::move(moved.hidden)));
      join.rows.push_back(std::move(moved.at));
    }
    if (join.rows.empty()) continue;
    if (r == 0) {
      own_.join(layer, std::move(join.rows), join.hidden);
      continue;
    }
    RETURN_IF_ERROR(reach(RankId{r}, &cache));
    write_join(join, body_);
    RETURN_IF_ERROR(send(RankId{r}, MessageKind::kJoin, false));
    crossed_.rows += join.rows.size();
    Away& there = away(RankId{r});
    std::move(join.rows.begin(), join.rows.end(), std::back_inserter(there.rows));
    std::move(normed.begin(), normed.end(), std::back_inserter(there.normed));
  }
  return {};
}

std::vector<float> RowTravel::norm_of(LayerId layer, std::vector<float> hidden) {
  const auto width = static_cast<std::int64_t>(hidden.size());
  std::vector<float> normed(hidden.size());
  ops_.rms_norm(stream_, RmsNormArgs{.x = {hidden.data(), 1, width, width},
                                     .residual = {},
                                     .weight = weights_.layers[static_cast<std::size_t>(layer.value)].ffn_norm,
                                     .eps = config_.rms_norm_eps,
                                     .out = {normed.data(), 1, width, width}});
  stream_.synchronize();
  return normed;
}

void RowTravel::add_need(LayerId layer, RankId rank, std::int32_t index, const RowAt& at, std::vector<float> normed) {
  const auto ids = ids_of(at);
  const auto need = static_cast<std::int32_t>(needs_.size());
  for (std::size_t slot = 0; slot < ids.size(); ++slot) {
    if (plan_.holds(rank, layer, ExpertId{ids[slot]})) continue;
    Help& help = help_[static_cast<std::size_t>(helping_rank(plan_, layer, ExpertId{ids[slot]}).value)];
    help.experts[ids[slot]].push_back({need, static_cast<std::int32_t>(slot)});
  }
  needs_.push_back({rank, index, std::move(normed)});
}

void RowTravel::find_help(LayerId layer) {
  for (Help& help : help_) help = {};
  const auto elsewhere = [&](RankId rank, const RowAt& at) {
    const auto ids = ids_of(at);
    return !std::all_of(ids.begin(), ids.end(), [&](auto id) { return plan_.holds(rank, layer, ExpertId{id}); });
  };
  for (std::int64_t i = 0; i < own_.count(); ++i) {
    const RowAt& at = own_.rows()[static_cast<std::size_t>(i)];
    if (!elsewhere(RankId{0}, at)) continue;
    add_need(layer, RankId{0}, static_cast<std::int32_t>(i), at,
             {own_.normed(i), own_.normed(i) + config_.hidden_size});
  }
  for (std::int32_t r = 1; r < plan_.ranks(); ++r) {
    Away& there = away(RankId{r});
    for (std::size_t i = 0; i < there.rows.size(); ++i) {
      if (!elsewhere(RankId{r}, there.rows[i])) continue;
      add_need(layer, RankId{r}, static_cast<std::int32_t>(i), there.rows[i], std::move(there.normed[i]));
    }
  }
  for (Help& help : help_) {
    help.rows.layer = layer;
    for (const auto& [expert, outputs] : help.experts) {
      help.rows.experts.push_back(expert);
      help.rows.group_rows.push_back(static_cast<std::int32_t>(outputs.size()));
      help.rows.drafted.push_back(0);
      for (const OutputAt& output : outputs) {
        auto at = std::find(help.needs.begin(), help.needs.end(), output.index);
        if (at == help.needs.end()) at = help.needs.insert(at, output.index);
        help.rows.x_rows.push_back(static_cast<std::int32_t>(at - help.needs.begin()));
        help.outputs.push_back(output);
      }
    }
    help.rows.rows = static_cast<std::int64_t>(help.needs.size());
  }
}

Status RowTravel::send_help() {
  const std::size_t row_bytes = static_cast<std::size_t>(config_.hidden_size) * sizeof(float);
  for (std::int32_t r = 1; r < plan_.ranks(); ++r) {
    const Help& help = help_[static_cast<std::size_t>(r)];
    if (help.needs.empty()) continue;
    RETURN_IF_ERROR(reach(RankId{r}, nullptr));
    std::byte* at = write_rows(help.rows, config_.hidden_size, body_).data();
    for (const std::int32_t need : help.needs) {
      std::memcpy(at, needs_[static_cast<std::size_t>(need)].normed.data(), row_bytes);
      at += row_bytes;
    }
    crossed_.rows += help.needs.size();
    RETURN_IF_ERROR(send(RankId{r}, MessageKind::kRows, true));
  }
  return {};
}

// Rank 0's experts for rows that are elsewhere.
void RowTravel::run_own_help(LayerId layer) {
  const Help& help = help_[0];
  if (help.needs.empty()) return;
  const std::int64_t hidden = config_.hidden_size;
  std::vector<float> x, y(help.outputs.size() * static_cast<std::size_t>(hidden));
  for (const std::int32_t need : help.needs) {
    const std::vector<float>& normed = needs_[static_cast<std::size_t>(need)].normed;
    x.insert(x.end(), normed.begin(), normed.end());
  }
  std::vector<std::int32_t> out_rows(help.outputs.size());
  std::iota(out_rows.begin(), out_rows.end(), 0);
  std::vector<ExpertGroup> groups;
  std::int32_t first = 0;
  for (std::size_t g = 0; g < help.rows.experts.size(); ++g) {
    groups.push_back({.weights = weights_.experts.get({layer, ExpertId{help.rows.experts[g]}}),
                      .x_rows = help.rows.x_rows.data() + first,
                      .out_rows = out_rows.data() + first,
                      .rows = help.rows.group_rows[g]});
    first += help.rows.group_rows[g];
  }
  run_groups(ops_, stream_, config_.activation, {x.data(), help.rows.rows, hidden, hidden},
             {y.data(), static_cast<std::int64_t>(help.outputs.size()), hidden, hidden}, scratch_.ffn_inner, groups);
  stream_.synchronize();
  for (std::size_t i = 0; i < help.outputs.size(); ++i) {
    deliver(help.outputs[i], y.data() + i * static_cast<std::size_t>(hidden));
  }
}

Status RowTravel::receive_help() {
  const auto hidden = static_cast<std::size_t>(config_.hidden_size);
  for (std::int32_t r = 1; r < plan_.ranks(); ++r) {
    const Help& help = help_[static_cast<std::size_t>(r)];
    if (help.needs.empty()) continue;
    const std::size_t bytes = help.outputs.size() * hidden * sizeof(float);
    ASSIGN_OR_RETURN(const Message answer, receive(RankId{r}, MessageKind::kOutputs, bytes + kMaxAnswerTailBytes));
    if (const auto tail = read_tail(answer.body, bytes); !tail.ok()) {
      ranks_.drop(RankId{r}, tail.status());
      return of_rank(RankId{r}, tail.status());
    }
    crossed_.rows += help.outputs.size();
    std::vector<float> values(help.outputs.size() * hidden);
    std::memcpy(values.data(), answer.body.data(), bytes);
    for (std::size_t i = 0; i < help.outputs.size(); ++i) deliver(help.outputs[i], values.data() + i * hidden);
  }
  return {};
}

// To the row that needs it: here, or with the next layer of the rank where it is.
void RowTravel::deliver(const OutputAt& output, const float* values) {
  const Need& need = needs_[static_cast<std::size_t>(output.index)];
  if (need.at == RankId{0}) {
    own_.place(need.index, output.slot, values);
    return;
  }
  LayerRows& next = away(need.at).next;
  next.outputs.push_back({need.index, output.slot});
  next.values.insert(next.values.end(), values, values + config_.hidden_size);
}

}  // namespace foregate
