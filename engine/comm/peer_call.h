// How rank 0 and another rank come to be peers, whose devices send rows to one another (kernels/api/peers.h): over
// their line, before the first row. The rank says which device it has, rank 0 names the two of them, both join, the
// rank says what became of it. Every rank is a peer of rank 0 alone, so that one that dies takes no other's with it.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "engine/base/clock.h"
#include "engine/base/status.h"
#include "engine/comm/transport.h"
#include "kernels/api/device.h"
#include "kernels/api/peers.h"

namespace foregate {

// Peers, or why there are none.
struct PeerCall {
  std::shared_ptr<Peers> peers;
  std::string why_not;
};

struct PeerCallOptions {
  std::string library;  // PeersOptions::library, of rank 0
  TimeNs join_limit = 30'000'000'000;
  TimeNs answer_limit = 60'000'000'000;  // how long the rank waits for rows that were announced
  const std::atomic<bool>* cancelled = nullptr;
  // Why the rank with a device of this identity may not be a peer; empty: it may. Null: any may.
  std::function<std::string(const std::string& identity)> objection = {};
};

// Rank 0. Until the rank speaks it may take as long as that takes to start; closing the line ends every wait. An error
// is the line's.
Result<PeerCall> call_peer(RankLine& line, Device& device, const PeerCallOptions& options);

struct PeerAnswer {
  PeerCall call;
  TimeNs answer_limit = 0;
};
// The other rank; joins as rank 0 says.
Result<PeerAnswer> answer_peer(RankLine& line, Device& device, const std::string& library);

}  // namespace foregate
