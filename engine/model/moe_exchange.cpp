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

static_assert(kMostParts <= kMaxExchangeParts);

Status of_rank(RankId rank, const Status& why) {
  return unavailable("rank " + std::to_string(rank.value) + " does not serve: " + why.message());
}

MoeExchange::MoeExchange(const ModelConfig& config, std::int32_t max_rows, ExpertRanks& ranks, OverlapMode overlap,
                         std::unique_ptr<DeviceExchange> device, std::int64_t least_part_bytes)
    : ranks_(ranks),
      device_(std::move(device)),
      limits_{.max_rows = max_rows,
              .top_k = config.router.top_k,
              .hidden = config.hidden_size,
              .layers = static_cast<std::int32_t>(config.layers.size()),
              .experts = config.router.experts},
      overlap_(overlap),
      least_part_rows_(least_part_rows(config.hidden_size, least_part_bytes)),
      stood_(static_cast<std::size_t>(ranks.plan().ranks()), std::vector<std::vector<StoodRows>>(config.layers.size())),
      sent_as_(static_cast<std::size_t>(max_rows), -1) {
  for (Flight& flight : flights_) flight.shares.resize(stood_.size());
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
  load_.assign(stood_.size(), 0);
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
void MoeExchange::add_group(const ExpertGroup& group, std::int32_t expert, std::int32_t drafted, Share& share) {
  share.rows.experts.push_back(expert);
  share.rows.group_rows.push_back(group.rows);
  share.rows.drafted.push_back(drafted);
  for (std::int32_t i = 0; i < group.rows; ++i) {
    std::int32_t& at = sent_as_[static_cast<std::size_t>(group.x_rows[i])];
    if (at < 0) {
      at = static_cast<std::int32_t>(share.from.size());
      share.from.push_back(group.x_rows[i]);
    }
    share.rows.x_rows.push_back(at);
    share.out_rows.push_back(group.out_rows[i]);
  }
  share.groups.push_back({share.rows.experts.size(), share.from.size(), share.out_rows.size()});
}

void MoeExchange::divide(const Step& step, LayerId id, const ModelWeights& weights, std::int32_t half) {
  const StepScratch& s = step.scratch;
  choose_owners(s, id);
  Flight& flight = flight_of(half);
  flight.step = &step;
  flight.crossed = {};
  Own& own = flight.own;
  own = {};
  for (std::size_t rank = 0; rank < flight.shares.size(); ++rank) {
    Share& share = flight.shares[rank];
    share.rows = {};
    share.from.clear();
    share.out_rows.clear();
    share.groups.clear();
    share.rows.layer = id;
    share.rows.part.half = half;
    share.rows.prompt = phase_of(step) == UsePhase::kPrefill;
    for (std::size_t g = 0; g < s.groups.size(); ++g) {
      const std::int32_t expert = s.group_experts[g];
      if (group_owners_[g] != static_cast<std::int32_t>(rank)) continue;
      const std::int32_t drafted = s.group_drafted_rows.empty() ? 0 : s.group_drafted_rows[g];
      if (rank > 0) {
        add_group(s.groups[g], expert, drafted, share);
        continue;
      }
      own.groups.push_back(s.groups[g]);
      own.experts.push_back(expert);
      own.rows.push_back(s.group_rows[g]);
      if (!s.group_drafted_rows.empty()) own.drafted_rows.push_back(drafted);
      if (!weights.store) own.groups.back().weights = weights.experts.get({id, ExpertId{expert}});
    }
    for (const std::int32_t row : share.from) sent_as_[static_cast<std::size_t>(row)] = -1;
    if (!share.from.empty()) share.rows.stood = std::exchange(stood_[rank][static_cast<std::size_t>(id.value)], {});
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

void MoeExchange::begin_own(const Step& step, LayerId id, ExpertStore& store, Own& own) {
  LayerUse use = use_of(step, id);
  for (std::size_t i = 0; i < use.decode_rows.size(); ++i) {
    if (std::binary_search(own.experts.begin(), own.experts.end(), use.experts[i])) {
      own.decode_rows.push_back(use.decode_rows[i]);
    }
  }
  use.experts = own.experts;
  use.rows = own.rows;
  use.decode_rows = own.decode_rows;
  use.drafted_rows = own.drafted_rows;
  store.begin(use);
}

// What was found in the store is counted before anything of the layer is waited for.
Status MoeExchange::run_own(const Step& step, LayerId id, const ModelWeights& weights, Own& own) {
  if (weights.store && !own.groups.empty()) begin_own(step, id, *weights.store, own);
  count_routes(step, id, weights);
  if (own.groups.empty()) return {};
  if (!weights.store) {
    if (device_) {
      device_->run(step, own.groups);
    } else {
      run_groups(step, own.groups);
    }
    return {};
  }
  return run_leased(*weights.store, own.experts, own.groups, step.scratch.arrived_groups,
                    [&](std::span<ExpertGroup> groups) {
                      run_groups(step, groups);
                      step.stream.synchronize();
                    });
}

// In how many messages each rank gets its rows: a message brings the rows of its experts that none before it brought,
// and its answer their outputs. The most of any rank.
std::size_t MoeExchange::cut_shares(Flight& flight) {
  const std::int32_t parts = overlap_ == OverlapMode::kChunks && device_ == nullptr ? kMostParts : 1;
  std::size_t most = 0;
  for (Share& share : flight.shares) {
    share.parts.clear();
    sizes_.clear();
    std::size_t before = 0;
    for (const PartEnd& group : share.groups) {
      const std::size_t through = group.rows + group.outputs;
      sizes_.push_back(static_cast<std::int32_t>(through - before));
      before = through;
    }
    for (const std::size_t end : cut_groups(sizes_, least_part_rows_, parts)) {
      share.parts.push_back(share.groups[end - 1]);
    }
    most = std::max(most, share.parts.size());
  }
  if (most > 1) ran_ = OverlapMode::kChunks;
  return most;
}

void MoeExchange::begin_flight(Flight& flight, std::size_t messages) {
  flight.first_epoch = epoch_ + 1;
  flight.deadline = ranks_.answer_deadline();
  epoch_ += messages;
}

// INV-21: the rows go out as they are, and their answers land where the rank's own would: one combine for all. INV-23:
// each wait below ends at the deadline. Every rank gets its first part before any gets a second. A rank that fails is
// dropped; those that have begun get the rest of their parts all the same, for their answers are waited for.
Status MoeExchange::send(Flight& flight) {
  const std::size_t most = cut_shares(flight);
  begin_flight(flight, most);
  Status first;
  for (std::size_t part = 0; part < most; ++part) {
    for (std::size_t rank = 1; rank < flight.shares.size(); ++rank) {
      Share& share = flight.shares[rank];
      if (part >= share.parts.size()) continue;
      const RankId id{static_cast<std::int32_t>(rank)};
      if (part == 0) {
        if (!first.ok()) continue;
        auto line = ranks_.line(id);
        if (line.ok())
          share.line = std::move(*line);
        else
          first = of_rank(id, line.status());
      }
      if (share.line == nullptr) continue;
      if (const Status sent = send_part(flight, id, part); !sent.ok()) {
        ranks_.drop(id, sent);
        share.line = nullptr;
        if (first.ok()) first = of_rank(id, sent);
      }
    }
  }
  return first;
}

// Of a share that goes in several messages, one.
ExpertRows MoeExchange::part_of(Share& share, std::size_t part) {
  const PartEnd begin = part == 0 ? PartEnd() : share.parts[part - 1];
  const PartEnd& end = share.parts[part];
  const auto cut = [](const std::vector<std::int32_t>& numbers, std::size_t first, std::size_t last) {
    return std::vector(numbers.begin() + static_cast<std::ptrdiff_t>(first),
                       numbers.begin() + static_cast<std::ptrdiff_t>(last));
  };
  ExpertRows rows;
  rows.layer = share.rows.layer;
  rows.part = {.number = static_cast<std::int32_t>(part),
               .of = static_cast<std::int32_t>(share.parts.size()),
               .half = share.rows.part.half};
  rows.prompt = share.rows.prompt;
  rows.rows = static_cast<std::int64_t>(end.rows - begin.rows);
  rows.experts = cut(share.rows.experts, begin.groups, end.groups);
  rows.group_rows = cut(share.rows.group_rows, begin.groups, end.groups);
  rows.drafted = cut(share.rows.drafted, begin.groups, end.groups);
  rows.x_rows = cut(share.rows.x_rows, begin.outputs, end.outputs);
  if (part == 0) rows.stood = std::move(share.rows.stood);
  return rows;
}

Status MoeExchange::send_part(Flight& flight, RankId rank, std::size_t part) {
  Share& share = flight.shares[static_cast<std::size_t>(rank.value)];
  const std::size_t begin = part == 0 ? 0 : share.parts[part - 1].rows;
  const std::size_t end = share.parts[part].rows;
  const View2<const float> in = flight.step->block_in();
  const std::size_t row_bytes = static_cast<std::size_t>(limits_.hidden) * sizeof(float);
  std::byte* at = nullptr;
  if (share.parts.size() == 1) {
    share.rows.rows = static_cast<std::int64_t>(end);
    at = write_rows(share.rows, limits_.hidden, body_).data();
  } else {
    at = write_rows(part_of(share, part), limits_.hidden, body_).data();
  }
  for (std::size_t i = begin; i < end; ++i) {
    std::memcpy(at, in.data + share.from[i] * in.stride, row_bytes);
    at += row_bytes;
  }
  RETURN_IF_ERROR(share.line->send(MessageKind::kRows, flight.first_epoch + part, body_, flight.deadline));
  share.due = part + 1;
  flight.crossed.rows += end - begin;
  flight.crossed.bytes += kMessageHeaderBytes + body_.size();
  flight.crossed.chunks += share.parts.size() > 1 ? 1 : 0;
  return {};
}

// `failed`: what the rank says that it could not do.
Status MoeExchange::receive_part(Flight& flight, std::size_t rank, std::size_t part, Status& failed) {
  Share& share = flight.shares[rank];
  const std::size_t begin = part == 0 ? 0 : share.parts[part - 1].outputs;
  const std::size_t end = share.parts[part].outputs;
  const std::uint64_t epoch = flight.first_epoch + part;
  const std::size_t row_bytes = static_cast<std::size_t>(limits_.hidden) * sizeof(float);
  const bool by_peers = share.link.peers != nullptr;
  const std::uint64_t bytes = by_peers ? 0 : (end - begin) * row_bytes;
  ASSIGN_OR_RETURN(
      const Message answer,
      share.line->receive({.least_epoch = epoch,
                           .most_epoch = epoch,
                           .most_bytes = std::max<std::uint64_t>(bytes + kMaxAnswerTailBytes, kMaxFailureBytes)},
                          flight.deadline));
  flight.crossed.bytes += kMessageHeaderBytes + answer.body.size();
  if (answer.kind == MessageKind::kFailed) {
    failed = read_failure(answer.body);
    return {};
  }
  if (answer.kind != (by_peers ? MessageKind::kPeerOutputs : MessageKind::kOutputs)) {
    return data_loss("an answer that is none");
  }
  ASSIGN_OR_RETURN(const AnswerTail tail, read_tail(answer.body, bytes));
  if (device_) RETURN_IF_ERROR(take_outputs(flight, share, answer.body));
  const std::byte* at = answer.body.data();
  for (std::size_t i = begin; i < end && !device_; ++i) {
    std::memcpy(flight.step->scratch.expert_out + share.out_rows[i] * limits_.hidden, at, row_bytes);
    at += row_bytes;
  }
  flight.crossed.rows += end - begin;
  if (tail.figures) ranks_.figures(RankId{static_cast<std::int32_t>(rank)}, *tail.figures);
  return {};
}

// Every answer that is due is waited for, also after one that failed: the next exchange finds the lines empty. First
// parts first, as the ranks compute them. INV-22: after a failure too, each line has been read to the end of its epochs
// or is dropped.
Status MoeExchange::receive(Flight& flight) {
  Status first;
  std::size_t most = 0;
  for (const Share& share : flight.shares) most = std::max(most, share.due);
  for (std::size_t part = 0; part < most; ++part) {
    for (std::size_t rank = 1; rank < flight.shares.size(); ++rank) {
      Share& share = flight.shares[rank];
      if (share.line == nullptr || part >= share.due) continue;
      Status failed;
      const Status got = receive_part(flight, rank, part, failed);
      if (!failed.ok() && first.ok())
        first = Status(failed.code(), "rank " + std::to_string(rank) + ": " + failed.message());
      if (got.ok()) continue;
      share.line = nullptr;
      if (share.link.peers != nullptr) share.link.peers->abort();
      const RankId id{static_cast<std::int32_t>(rank)};
      ranks_.drop(id, got);
      if (first.ok()) first = of_rank(id, got);
    }
  }
  for (Share& share : flight.shares) {
    share.line = nullptr;
    share.due = 0;
  }
  spent_.bytes += static_cast<double>(flight.crossed.bytes);
  ranks_.count(std::exchange(flight.crossed, {}));
  return first;
}

void MoeExchange::route(const Step& step, LayerId id, const ModelWeights& weights) {
  route_layer(step, id, weights.layers[static_cast<std::size_t>(id.value)]);
  route_next_layer(step, id, weights.layers);
  group_by_expert(step);
}

Result<int> MoeExchange::run(const Step& step, LayerId id, const ModelWeights& weights) {
  route(step, id, weights);
  if (step.tap != nullptr) step.tap->tell(step, id, nullptr);
  divide(step, id, weights, 0);
  Flight& flight = flight_of(0);
  const TimeNs begin = system_clock().now();
  const Status sent = device_ ? send_from_device(flight) : send(flight);
  const TimeNs away = system_clock().now();
  const Status own = sent.ok() ? run_own(step, id, weights, flight.own) : Status();
  const TimeNs done = system_clock().now();
  const Status received = receive(flight);
  if (epoch_ >= flight.first_epoch) {  // something was sent
    spent_.exchanges += 1;
    spent_.waited += static_cast<double>(away - begin + system_clock().now() - done);
  }
  const Status arrived = device_ ? finish_peers(flight) : Status();
  RETURN_IF_ERROR(sent);
  RETURN_IF_ERROR(received);
  RETURN_IF_ERROR(arrived);
  RETURN_IF_ERROR(own);
  if (device_) device_->finish(step);
  combine_groups(step, weights.layers[static_cast<std::size_t>(id.value)]);
  return static_cast<int>(step.scratch.groups.size());
}

Status MoeExchange::begin_half(const Step& step, LayerId id, const ModelWeights& weights, std::int32_t half) {
  route(step, id, weights);
  divide(step, id, weights, half);
  Flight& flight = flight_of(half);
  RETURN_IF_ERROR(send(flight));
  if (!flight.own.groups.empty()) run_groups(step, flight.own.groups);
  return {};
}

Status MoeExchange::end_half(LayerId id, const ModelWeights& weights, std::int32_t half) {
  Flight& flight = flight_of(half);
  RETURN_IF_ERROR(receive(flight));
  combine_groups(*flight.step, weights.layers[static_cast<std::size_t>(id.value)]);
  return {};
}

void MoeExchange::give_up() {
  for (Flight& flight : flights_) static_cast<void>(receive(flight));
}

}  // namespace foregate
