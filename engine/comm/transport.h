// The rank seam: a line between two ranks that carries messages, with a deadline and an epoch on every call. A peer
// that is late, gone, or says what was not asked is an explicit failure, never a hang. One thread sends and receives at
// an end; close() may come from any thread.
#pragma once

#include <cstddef>
#include <limits>
#include <memory>
#include <span>
#include <utility>

#include "engine/base/clock.h"
#include "engine/base/status.h"
#include "engine/comm/message.h"

namespace foregate {

inline constexpr TimeNs kNoDeadline = std::numeric_limits<TimeNs>::max();

class RankLine {
 public:
  virtual ~RankLine() = default;
  // kUnavailable: the other end is gone; kDeadlineExceeded: it does not take the bytes. After an error the line is
  // closed. Times are of system_clock().
  virtual Status send(MessageKind kind, std::uint64_t epoch, std::span<const std::byte> body, TimeNs deadline) = 0;
  // The next message; kDataLoss when it is none or beyond the bounds, else as send() fails.
  virtual Result<Message> receive(const MessageBounds& bounds, TimeNs deadline) = 0;
  // Both ends fail from here on, calls that wait at once.
  virtual void close() = 0;
};

using LinePair = std::pair<std::unique_ptr<RankLine>, std::unique_ptr<RankLine>>;

// Two ends within this process: for tests and the simulator.
LinePair memory_line();
// Over a connected stream socket, which it owns.
std::unique_ptr<RankLine> socket_line(int fd);

}  // namespace foregate
