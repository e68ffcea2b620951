// The calls by which ranks with a GPU become peers of this one's (engine/comm/peer_call.h), while they load: a thread
// of its own for each rank that was started. Owned by RankTeam.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "engine/base/ids.h"
#include "engine/comm/peer_call.h"

namespace foregate {

// Which way rows go between ranks with a GPU.
enum class ExchangeTransport { kAuto, kLine, kNccl };
// kInvalidArgument (field exchange_transport) for a word that is none: auto, line, nccl.
Result<ExchangeTransport> exchange_transport_named(const std::string& name);

// Which rank has which device: two that share one are no peers. Any thread.
class DeviceBook {
 public:
  explicit DeviceBook(std::string of_rank_zero) { devices_[RankId{0}] = std::move(of_rank_zero); }
  // Notes the device; why it does not count as the rank's own, or empty.
  std::string enter(RankId rank, const std::string& identity);
  void leave(RankId rank);

 private:
  std::mutex mutex_;
  std::map<RankId, std::string> devices_;
};

struct PeerPolicy {
  Device* device = nullptr;  // of this rank; null: nobody is called
  std::string library;
  bool required = false;  // a rank that is no peer does not serve
  TimeNs join_limit = 30'000'000'000;
  TimeNs answer_limit = 60'000'000'000;
};

class PeerJoin {
 public:
  // Calls at once. The line is the call's until done(); closing it ends the call.
  PeerJoin(RankId rank, std::shared_ptr<RankLine> line, const PeerPolicy& policy, DeviceBook& book);
  ~PeerJoin();
  bool done() const { return done_; }
  // Once it is done.
  const std::shared_ptr<Peers>& peers() const { return call_.peers; }
  const std::string& why_not() const { return call_.why_not; }
  // Set when this ends, with the rank: whoever uses the peers then is to abort them.
  const std::shared_ptr<const std::atomic<bool>>& cancelled() const { return shown_; }

 private:
  void run(const PeerPolicy& policy);

  const RankId rank_;
  const std::shared_ptr<RankLine> line_;
  DeviceBook& book_;
  const std::shared_ptr<std::atomic<bool>> cancelled_ = std::make_shared<std::atomic<bool>>(false);
  const std::shared_ptr<const std::atomic<bool>> shown_ = cancelled_;
  std::atomic<bool> done_ = false;
  PeerCall call_;
  std::thread thread_;
};

}  // namespace foregate
