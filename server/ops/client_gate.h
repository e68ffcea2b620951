// How much one client may ask: requests a minute and requests at a time, told from the header alone. Loop thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>

#include "engine/base/clock.h"
#include "engine/base/metrics.h"
#include "engine/base/status.h"

namespace foregate {

struct ClientLimits {
  std::int64_t requests_per_minute = 0;  // 0: any number; a minute's worth may come at once
  std::int64_t concurrent_requests = 0;  // 0: any number
};

class ClientGate {
 public:
  // `clock` and `metrics` outlive it.
  ClientGate(const Clock& clock, ClientLimits limits, Metrics& metrics);

  struct Entry {
    std::shared_ptr<void> held;  // of a request that is let in: kept as long as it runs
    Status refused;              // kResourceExhausted, its field kClientRateField
    std::int64_t retry_seconds = 0;
  };
  // One more request of this client. Refused ones do not count.
  Entry enter(std::uint64_t client);

 private:
  struct Client {
    std::int64_t running = 0;
    TimeNs due = 0;  // when all that was let in would have come at an even pace (GCRA: ITU-T I.371)
  };
  Entry refuse(Counter& counter, std::string message, double seconds);

  const Clock& clock_;
  const ClientLimits limits_;
  Counter& too_many_;
  Counter& too_fast_;
  std::shared_ptr<std::unordered_map<std::uint64_t, Client>> clients_;  // at most one for each key
};

}  // namespace foregate
