#include "engine/runtime/peer_join.h"

#include <utility>

namespace foregate {

Result<ExchangeTransport> exchange_transport_named(const std::string& name) {
  if (name == "auto") return ExchangeTransport::kAuto;
  if (name == "line") return ExchangeTransport::kLine;
  if (name == "nccl") return ExchangeTransport::kNccl;
  return invalid_argument("must be auto, line or nccl, not " + name, "exchange_transport");
}

std::string DeviceBook::enter(RankId rank, const std::string& identity) {
  const std::lock_guard lock(mutex_);
  for (const auto& [other, device] : devices_) {
    if (other == rank || device != identity) continue;
    return "it shares " + identity + " with rank " + std::to_string(other.value);
  }
  devices_[rank] = identity;
  return {};
}

void DeviceBook::leave(RankId rank) {
  const std::lock_guard lock(mutex_);
  devices_.erase(rank);
}

PeerJoin::PeerJoin(RankId rank, std::shared_ptr<RankLine> line, const PeerPolicy& policy, DeviceBook& book)
    : rank_(rank), line_(std::move(line)), book_(book), thread_([this, policy] { run(policy); }) {}

PeerJoin::~PeerJoin() {
  *cancelled_ = true;
  if (!done_) line_->close();
  thread_.join();
  book_.leave(rank_);
}

// A line that fails fails for whoever uses it next, and says why there.
void PeerJoin::run(const PeerPolicy& policy) {
  auto called = call_peer(*line_, *policy.device,
                          {.library = policy.library,
                           .join_limit = policy.join_limit,
                           .answer_limit = policy.answer_limit,
                           .cancelled = cancelled_.get(),
                           .objection = [this](const std::string& identity) { return book_.enter(rank_, identity); }});
  if (called.ok()) {
    call_ = std::move(called).value();
  } else {
    call_.why_not = called.status().message();
  }
  if (call_.peers == nullptr && call_.why_not.empty()) call_.why_not = "they did not join";
  done_ = true;
}

}  // namespace foregate
