// The rank seam: collectives between ranks with a deadline and an epoch on every call. A peer that
// is late or has another epoch is an explicit failure, never a hang.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/base/clock.h"
#include "engine/base/ids.h"
#include "engine/base/status.h"

namespace foregate {

struct CallLimits {
  std::uint64_t epoch = 0;
  TimeNs deadline = 0;  // monotonic
};

class Transport {
 public:
  virtual ~Transport() = default;
  virtual RankId rank() const = 0;
  virtual std::int32_t ranks() const = 0;
  // Copies `data` of the root to every rank; sizes must agree.
  virtual Status broadcast(RankId root, std::span<std::byte> data, CallLimits limits) = 0;
  // send[r] goes to rank r; received[r] is resized to what rank r sent here.
  virtual Status all_to_all(const std::vector<std::span<const std::byte>>& send,
                            std::vector<std::vector<std::byte>>& received, CallLimits limits) = 0;
  virtual Status barrier(CallLimits limits) = 0;
};

// The transport of a server that is its own only rank.
std::unique_ptr<Transport> single_rank_transport();

}  // namespace foregate
