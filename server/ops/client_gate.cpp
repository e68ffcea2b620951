#include "server/ops/client_gate.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "engine/api/client_share.h"

namespace foregate {
namespace {

constexpr TimeNs kMinute = 60'000'000'000;

Counter& refusals(Metrics& metrics, const char* reason) {
  return metrics.counter("foregate_client_refusals", "Requests refused because their client asks too much",
                         {{"reason", reason}});
}

}  // namespace

ClientGate::ClientGate(const Clock& clock, ClientLimits limits, Metrics& metrics)
    : clock_(clock),
      limits_(limits),
      too_many_(refusals(metrics, "concurrency")),
      too_fast_(refusals(metrics, "rate")),
      clients_(std::make_shared<std::unordered_map<std::uint64_t, Client>>()) {}

ClientGate::Entry ClientGate::refuse(Counter& counter, std::string message, double seconds) {
  counter.add();
  Entry entry;
  entry.refused = Status(Code::kResourceExhausted, std::move(message), kClientRateField);
  entry.retry_seconds = std::max<std::int64_t>(1, static_cast<std::int64_t>(std::ceil(seconds)));
  return entry;
}

ClientGate::Entry ClientGate::enter(std::uint64_t id) {
  if (limits_.requests_per_minute <= 0 && limits_.concurrent_requests <= 0) return {};
  Client& client = (*clients_)[id];
  if (limits_.concurrent_requests > 0 && client.running >= limits_.concurrent_requests) {
    return refuse(
        too_many_,
        std::to_string(client.running) + " requests of this client are under way; no more are taken at a time", 1);
  }
  if (limits_.requests_per_minute > 0) {
    const TimeNs now = clock_.now();
    const TimeNs pace = kMinute / limits_.requests_per_minute;
    const TimeNs due = std::max(client.due, now);
    const TimeNs early = due - now - (kMinute - pace);
    if (early > 0) {
      return refuse(too_fast_, "more than " + std::to_string(limits_.requests_per_minute) + " requests a minute",
                    static_cast<double>(early) * 1e-9);
    }
    client.due = due + pace;
  }
  ++client.running;
  Entry entry;
  entry.held = std::shared_ptr<void>(nullptr, [clients = clients_, id](void*) { --(*clients)[id].running; });
  return entry;
}

}  // namespace foregate
