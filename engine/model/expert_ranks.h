// The other ranks as the MoE exchange sees them: a line to each that serves, and what becomes of one that fails. The
// runtime keeps them alive; tests put threads behind it. Engine thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

#include "engine/base/clock.h"
#include "engine/base/ids.h"
#include "engine/base/status.h"
#include "engine/comm/transport.h"
#include "engine/model/rank_figures.h"
#include "engine/placement/plan.h"
#include "kernels/api/peers.h"

namespace foregate {

// Rows that crossed in both directions, and the bytes of their messages.
struct Crossed {
  std::uint64_t rows = 0;
  std::uint64_t bytes = 0;
  std::uint64_t peer_bytes = 0;  // of them, from device to device
  // Where tokens stay where their experts are (row_travel.h): rows that went to another rank to go on there, bytes of
  // keys and values that were copied, and steps of that form.
  std::uint64_t moves = 0;
  std::uint64_t context_bytes = 0;
  std::uint64_t one_all_to_all_steps = 0;
  // Messages that were one of several of an exchange, and steps that ran in two halves.
  std::uint64_t chunks = 0;
  std::uint64_t halved_steps = 0;
  // Steps that overlapped to see whether that pays, and such that were not needed to know that it does not.
  std::uint64_t overlap_trials = 0;
  std::uint64_t overlap_trials_spared = 0;
};

// That the rank does not serve, and why.
Status of_rank(RankId rank, const Status& why);

// How a rank is reached; `peers` null: rows go over the line. Whoever has them may use them, and aborts what is under
// way once `gone` (may be null) is set.
struct RankLink {
  std::shared_ptr<RankLine> line;
  std::shared_ptr<Peers> peers;
  std::shared_ptr<const std::atomic<bool>> gone;
};

class ExpertRanks {
 public:
  virtual ~ExpertRanks() = default;
  virtual const PlacementPlan& plan() const = 0;  // that it begins with
  // The line to a rank other than 0; kUnavailable while it does not serve.
  virtual Result<std::shared_ptr<RankLine>> line(RankId rank) = 0;
  virtual Result<RankLink> link(RankId rank) {
    ASSIGN_OR_RETURN(auto line, this->line(rank));
    return RankLink{.line = std::move(line), .peers = nullptr, .gone = nullptr};
  }
  // The rank did not keep to the protocol or the deadline: it gets no more work, and a successor.
  virtual void drop(RankId rank, const Status& why) = 0;
  virtual TimeNs answer_deadline() const = 0;  // of an exchange that begins now
  virtual void count(const Crossed& crossed) = 0;
  // The rows of the step in one layer, top_k ids each, layer after layer.
  virtual void routed(LayerId, std::span<const std::int32_t>) {}
  // Asked before each step: the plan from here on, of which every rank can serve every expert; null: as before.
  virtual std::shared_ptr<const PlacementPlan> next_plan() { return nullptr; }
  // What the store of a rank that has one did so far.
  virtual void figures(RankId rank, const RankFigures& now) = 0;
};

}  // namespace foregate
