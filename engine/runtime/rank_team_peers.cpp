// Which way the rows of each rank go, where ranks have a GPU each (peer_join.h).
#include "engine/base/log.h"
#include "engine/runtime/rank_team.h"

namespace foregate {

Result<RankLink> RankTeam::link(RankId rank) {
  const std::lock_guard lock(mutex_);
  const Rank& at = ranks_.at(static_cast<std::size_t>(rank.value - 1));
  if (at.state != State::kServing || !at.dropped.empty()) return unavailable("it is being started again");
  RankLink link{.line = at.process.line, .peers = nullptr, .gone = nullptr};
  if (at.join == nullptr) return link;
  link.peers = at.join->peers();
  link.gone = at.join->cancelled();
  return link;
}

std::string RankTeam::transport_text() const {
  const std::lock_guard lock(mutex_);
  std::string text;
  for (const Rank& rank : ranks_) {
    if (rank.join == nullptr || !rank.join->done()) continue;
    const std::string way = rank.join->peers() != nullptr ? "by NCCL" : "over the line: " + rank.join->why_not();
    if (text.find(way) == std::string::npos) text += (text.empty() ? "" : ", ") + way;
  }
  return text;
}

// A rank serves once it is known which way its rows go: the next pulse asks again.
bool RankTeam::has_joined(Rank& rank) {
  if (rank.join == nullptr) return true;
  if (!rank.join->done()) return false;
  if (rank.join->peers() != nullptr) {
    log_info("rank " + std::to_string(rank.id.value) + ": rows go from GPU to GPU by NCCL");
    return true;
  }
  if (options_.peers.required) {
    rank.dropped = "--exchange-transport nccl: " + rank.join->why_not();
    return false;
  }
  log_warn("rank " + std::to_string(rank.id.value) +
           ": rows go through host memory and the line, not by NCCL: " + rank.join->why_not());
  return true;
}

void RankTeam::count_peers() {
  int peers = 0;
  for (const Rank& rank : ranks_) {
    peers += rank.state == State::kServing && rank.join != nullptr && rank.join->peers() != nullptr ? 1 : 0;
  }
  by_peers_.set(peers);
}

}  // namespace foregate
