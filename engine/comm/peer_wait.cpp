#include "engine/comm/peer_wait.h"

#include <algorithm>
#include <chrono>
#include <thread>

namespace foregate {
namespace {

constexpr TimeNs kSpinNs = 200'000;
constexpr TimeNs kLongestSleepNs = 500'000;

Status begin(Peers& peers, bool sends, void* data, std::size_t bytes) {
  const PeerBlock block{.peer = 1 - peers.rank(), .sends = sends, .data = data, .bytes = bytes};
  if (peers.begin({&block, 1})) return {};
  const Status failed = unavailable(peers.failure());
  peers.abort();
  return failed;
}

}  // namespace

// A group of rows is over within a layer: it is asked for again and again at first, then in sleeps. The processor is
// not offered meanwhile: where others want it, it comes back after far longer than a group takes.
Status finish_group(Peers& peers, TimeNs deadline, const std::atomic<bool>* gone) {
  const TimeNs start = system_clock().now();
  TimeNs sleep = 20'000;
  while (true) {
    const Peers::State state = peers.state();
    if (state == Peers::State::kDone) return {};
    if (state == Peers::State::kFailed) {
      const Status failed = unavailable(peers.failure());
      peers.abort();
      return failed;
    }
    if (gone != nullptr && *gone) {
      peers.abort();
      return unavailable("the other rank is gone");
    }
    const TimeNs now = system_clock().now();
    if (now >= deadline) {
      peers.abort();
      return Status(Code::kDeadlineExceeded, "rows between devices do not arrive in time");
    }
    if (now - start < kSpinNs) continue;
    std::this_thread::sleep_for(std::chrono::nanoseconds(std::min(sleep, deadline - now)));
    sleep = std::min(2 * sleep, kLongestSleepNs);
  }
}

Status begin_send(Peers& peers, const void* data, std::size_t bytes) {
  return begin(peers, true, const_cast<void*>(data), bytes);
}

Status begin_receive(Peers& peers, void* data, std::size_t bytes) {
  return begin(peers, false, data, bytes);
}

}  // namespace foregate
