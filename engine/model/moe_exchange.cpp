#include "engine/model/moe_exchange.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "engine/model/expert_tally.h"
#include "engine/model/leased_groups.h"
#include "engine/model/moe_block.h"
#include "engine/model/route_tap.h"
#include "engine/model/routing.h"

namespace foregate {

Status of_rank(RankId rank, const Status& why) {
  return unavailable("rank " + std::to_string(rank.value) + " does not serve: " + why.message());
}

MoeExchange::MoeExchange(const ModelConfig& config, std::int32_t max_rows, ExpertRanks& ranks,
                         std::unique_ptr<DeviceExchange> device)
    : ranks_(ranks),
      device_(std::move(device)),
      limits_{.max_rows = max_rows,
              .top_k = config.router.top_k,
              .hidden = config.hidden_size,
              .layers = static_cast<std::int32_t>(config.layers.size()),
              .experts = config.router.experts},
      parts_(static_cast<std::size_t>(ranks.plan().ranks())),
      stood_(parts_.size(), std::vector<std::vector<StoodRows>>(config.layers.size())),
      sent_as_(static_cast<std::size_t>(max_rows), -1) {
  adopt(ranks.plan());
}

void MoeExchange::adopt(const PlacementPlan& plan) {
  owners_ = plan.homes();
  holders_.clear();
  for (const ExpertCopy& copy : plan.copies()) {
    std::int32_t& owner =
        owners_[static_cast<std::size_t>(copy.layer.value)][static_cast<std::size_t>(copy.expert.value)];
    if (owner == 0) continue;
    if (copy.rank == RankId{0}) {
      owner = 0;
      holders_.erase({copy.layer, copy.expert});
      continue;
    }
    auto& holders = holders_[{copy.layer, copy.expert}];
    if (holders.empty()) holders.push_back(owner);
    holders.push_back(copy.rank.value);
  }
}

void MoeExchange::begin_step(ExpertStore* store) {
  if (store != nullptr) store->give_up_step();
  if (const auto plan = ranks_.next_plan()) adopt(*plan);
}

// Of several ranks that have an expert, the one with the fewest rows of this layer so far. It does not show in the
// bytes (INV-21).
void MoeExchange::choose_owners(const StepScratch& s, LayerId id) {
  const std::vector<std::int32_t>& owners = owners_[static_cast<std::size_t>(id.value)];
  group_owners_.assign(s.groups.size(), 0);
  load_.assign(parts_.size(), 0);
  for (const bool single : {true, false}) {
    for (std::size_t g = 0; g < s.groups.size(); ++g) {
      const std::int32_t expert = s.group_experts[g];
      const auto several = holders_.find({id, ExpertId{expert}});
      if ((several == holders_.end()) != single) continue;
      std::int32_t owner = owners[static_cast<std::size_t>(expert)];
      if (!single) {
        owner = *std::min_element(several->second.begin(), several->second.end(), [this](auto a, auto b) {
          return load_[static_cast<std::size_t>(a)] < load_[static_cast<std::size_t>(b)];
        });
      }
      group_owners_[g] = owner;
      load_[static_cast<std::size_t>(owner)] += s.group_rows[g];
    }
  }
}

// Each row goes to a rank once, however many of its experts the rank has.
void MoeExchange::add_group(const ExpertGroup& group, std::int32_t expert, std::int32_t drafted, Part& part) {
  part.rows.experts.push_back(expert);
  part.rows.group_rows.push_back(group.rows);
  part.rows.drafted.push_back(drafted);
  for (std::int32_t i = 0; i < group.rows; ++i) {
    std::int32_t& at = sent_as_[static_cast<std::size_t>(group.x_rows[i])];
    if (at < 0) {
      at = static_cast<std::int32_t>(part.from.size());
      part.from.push_back(group.x_rows[i]);
    }
    part.rows.x_rows.push_back(at);
    part.out_rows.push_back(group.out_rows[i]);
  }
}

void MoeExchange::divide(const Step& step, LayerId id, const ModelWeights& weights) {
  const StepScratch& s = step.scratch;
  choose_owners(s, id);
  own_ = {};
  for (std::size_t rank = 0; rank < parts_.size(); ++rank) {
    Part& part = parts_[rank];
    part.rows = {};
    part.rows.layer = id;
    part.rows.prompt = phase_of(step) == UsePhase::kPrefill;
    part.from.clear();
    part.out_rows.clear();
    for (std::size_t g = 0; g < s.groups.size(); ++g) {
      const std::int32_t expert = s.group_experts[g];
      if (group_owners_[g] != static_cast<std::int32_t>(rank)) continue;
      const std::int32_t drafted = s.group_drafted_rows.empty() ? 0 : s.group_drafted_rows[g];
      if (rank > 0) {
        add_group(s.groups[g], expert, drafted, part);
        continue;
      }
      own_.groups.push_back(s.groups[g]);
      own_.experts.push_back(expert);
      own_.rows.push_back(s.group_rows[g]);
      if (!s.group_drafted_rows.empty()) own_.drafted_rows.push_back(drafted);
      if (!weights.store) own_.groups.back().weights = weights.experts.get({id, ExpertId{expert}});
    }
    for (const std::int32_t row : part.from) sent_as_[static_cast<std::size_t>(row)] = -1;
    part.rows.rows = static_cast<std::int64_t>(part.from.size());
    if (!part.from.empty()) part.rows.stood = std::exchange(stood_[rank][static_cast<std::size_t>(id.value)], {});
  }
}

void MoeExchange::stood(const DraftRoutes::Stood& stood) {
  ranks_.routed(stood.use.layer, stood.ids);
  const auto layer = static_cast<std::size_t>(stood.use.layer.value);
  for (std::size_t rank = 1; rank < stood_.size(); ++rank) {
    StoodRows told;
    for (std::size_t i = 0; i < stood.use.experts.size(); ++i) {
      if (stood.owners[i] != static_cast<std::int32_t>(rank)) continue;
      told.experts.push_back(stood.use.experts[i]);
      told.rows.push_back(stood.use.rows[i]);
    }
    std::vector<StoodRows>& places = stood_[rank][layer];
    if (told.experts.empty()) continue;
    if (places.size() == kMaxStoodPlaces) places.erase(places.begin());
    places.push_back(std::move(told));
  }
}

// What the placement and the map of experts go by. Rows of drafts are told of when they stood.
void MoeExchange::count_routes(const Step& step, LayerId id, const ModelWeights& weights) {
  const std::int32_t* ids = step.scratch.route.host_ids;
  if (step.drafts == nullptr) {
    ranks_.routed(id, {ids, static_cast<std::size_t>(step.rows * limits_.top_k)});
  } else {
    routed_.clear();
    for (std::size_t i = 0; i < step.input.seqs.size(); ++i) {
      const SeqSpan& seq = step.input.seqs[i];
      const std::int32_t* first = ids + std::int64_t{seq.first_row} * limits_.top_k;
      routed_.insert(routed_.end(), first, first + std::int64_t{seq.rows - step.drafted(i)} * limits_.top_k);
    }
    ranks_.routed(id, routed_);
    step.drafts->note(step, id, weights.store.get(), nullptr, group_owners_);
  }
  if (step.tally != nullptr) step.tally->used(step, id, weights.store.get(), nullptr, group_owners_);
}

void MoeExchange::note_routes(const Step& step, LayerId id, const ModelWeights& weights) {
  choose_owners(step.scratch, id);
  count_routes(step, id, weights);
}

void MoeExchange::begin_own(const Step& step, LayerId id, ExpertStore& store) {
  LayerUse use = use_of(step, id);
  for (std::size_t i = 0; i < use.decode_rows.size(); ++i) {
    if (std::binary_search(own_.experts.begin(), own_.experts.end(), use.experts[i])) {
      own_.decode_rows.push_back(use.decode_rows[i]);
    }
  }
  use.experts = own_.experts;
  use.rows = own_.rows;
  use.decode_rows = own_.decode_rows;
  use.drafted_rows = own_.drafted_rows;
  store.begin(use);
}

// What was found in the store is counted before anything of the layer is waited for.
Status MoeExchange::run_own(const Step& step, LayerId id, const ModelWeights& weights) {
  if (weights.store && !own_.groups.empty()) begin_own(step, id, *weights.store);
  count_routes(step, id, weights);
  if (own_.groups.empty()) return {};
  if (!weights.store) {
    if (device_) {
      device_->run(step, own_.groups);
    } else {
      run_groups(step, own_.groups);
    }
    return {};
  }
  return run_leased(*weights.store, own_.experts, own_.groups, step.scratch.arrived_groups,
                    [&](std::span<ExpertGroup> groups) {
                      run_groups(step, groups);
                      step.stream.synchronize();
                    });
}

// INV-21: the rows go out as they are, and their answers land where the rank's own would: one combine for all. INV-23:
// each wait below ends at `deadline`.
Status MoeExchange::send(const Step& step, TimeNs deadline) {
  const View2<const float> in = step.block_in();
  const std::size_t row_bytes = static_cast<std::size_t>(limits_.hidden) * sizeof(float);
  for (std::size_t rank = 1; rank < parts_.size(); ++rank) {
    Part& part = parts_[rank];
    if (part.from.empty()) continue;
    const RankId id{static_cast<std::int32_t>(rank)};
    auto line = ranks_.line(id);
    if (!line.ok()) return of_rank(id, line.status());
    std::byte* at = write_rows(part.rows, limits_.hidden, part.body).data();
    for (const std::int32_t row : part.from) {
      std::memcpy(at, in.data + row * in.stride, row_bytes);
      at += row_bytes;
    }
    if (const Status sent = (*line)->send(MessageKind::kRows, epoch_, part.body, deadline); !sent.ok()) {
      ranks_.drop(id, sent);
      return of_rank(id, sent);
    }
    part.line = std::move(*line);
    crossed_.rows += part.from.size();
    crossed_.bytes += kMessageHeaderBytes + part.body.size();
  }
  return {};
}

// `failed`: what the rank says that it could not do.
Status MoeExchange::receive_part(const Step& step, std::size_t rank, TimeNs deadline, Status& failed) {
  Part& part = parts_[rank];
  const std::size_t row_bytes = static_cast<std::size_t>(limits_.hidden) * sizeof(float);
  const std::uint64_t bytes = part.link.peers != nullptr ? 0 : part.out_rows.size() * row_bytes;
  const MessageKind due = part.link.peers != nullptr ? MessageKind::kPeerOutputs : MessageKind::kOutputs;
  ASSIGN_OR_RETURN(const Message answer,
                   part.line->receive({.least_epoch = epoch_,
                                       .most_epoch = epoch_,
                                       .most_bytes = std::max(bytes + kRankFiguresBytes, kMaxFailureBytes)},
                                      deadline));
  crossed_.bytes += kMessageHeaderBytes + answer.body.size();
  if (answer.kind == MessageKind::kFailed) {
    failed = read_failure(answer.body);
    return {};
  }
  const bool figures = answer.body.size() == bytes + kRankFiguresBytes;
  if (answer.kind != due || (answer.body.size() != bytes && !figures)) {
    return data_loss("an answer of " + std::to_string(answer.body.size()) + " bytes where " + std::to_string(bytes) +
                     " are due");
  }
  if (device_) {
    RETURN_IF_ERROR(take_outputs(step, part, answer.body, deadline));
  } else {
    const std::byte* at = answer.body.data();
    for (const std::int32_t row : part.out_rows) {
      std::memcpy(step.scratch.expert_out + row * limits_.hidden, at, row_bytes);
      at += row_bytes;
    }
  }
  crossed_.rows += part.out_rows.size();
  if (figures) {
    const auto told = std::span<const std::byte>(answer.body).last<kRankFiguresBytes>();
    ranks_.figures(RankId{static_cast<std::int32_t>(rank)}, read_figures(told));
  }
  return {};
}

// Every answer that is due is waited for, also after one that failed: the next exchange finds the lines empty.
// INV-22: after a failure too, each line has been read to the end of this epoch or is dropped.
Status MoeExchange::receive(const Step& step, TimeNs deadline) {
  Status first;
  for (std::size_t rank = 1; rank < parts_.size(); ++rank) {
    if (parts_[rank].line == nullptr) continue;
    Status failed;
    const Status got = receive_part(step, rank, deadline, failed);
    parts_[rank].line = nullptr;
    if (!failed.ok() && first.ok())
      first = Status(failed.code(), "rank " + std::to_string(rank) + ": " + failed.message());
    if (got.ok()) continue;
    const RankId id{static_cast<std::int32_t>(rank)};
    if (parts_[rank].link.peers != nullptr) parts_[rank].link.peers->abort();
    ranks_.drop(id, got);
    if (first.ok()) first = of_rank(id, got);
  }
  return first;
}

Result<int> MoeExchange::run(const Step& step, LayerId id, const ModelWeights& weights) {
  const LayerWeights& layer = weights.layers[static_cast<std::size_t>(id.value)];
  route_layer(step, id, layer);
  route_next_layer(step, id, weights.layers);
  group_by_expert(step);
  if (step.tap != nullptr) step.tap->tell(step, id, nullptr);
  divide(step, id, weights);
  ++epoch_;
  crossed_ = {};
  const TimeNs deadline = ranks_.answer_deadline();
  const Status sent = device_ ? send_from_device(step, deadline) : send(step, deadline);
  const Status own = sent.ok() ? run_own(step, id, weights) : Status();
  const Status received = receive(step, deadline);
  const Status arrived = device_ ? finish_peers(deadline) : Status();
  ranks_.count(crossed_);
  RETURN_IF_ERROR(sent);
  RETURN_IF_ERROR(received);
  RETURN_IF_ERROR(arrived);
  RETURN_IF_ERROR(own);
  if (device_) device_->finish(step);
  combine_groups(step, layer);
  return static_cast<int>(step.scratch.groups.size());
}

}  // namespace foregate
