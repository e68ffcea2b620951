// The client-socket seam: an event loop with timers, listeners and connections. The server above
// knows nothing else of sockets; tests put an in-memory network behind it. Unless a function says
// otherwise it is called on the loop's thread, and so are all handlers. Handlers never run inside
// the call that set them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "engine/base/clock.h"
#include "engine/base/status.h"

namespace foregate {

class Timer {
 public:
  virtual ~Timer() = default;                                              // an armed timer does not fire any more
  virtual void arm(double delay_seconds, std::function<void()> fire) = 0;  // replaces an earlier arm
  virtual void cancel() = 0;
};

class IoLoop {
 public:
  virtual ~IoLoop() = default;
  virtual void post(std::function<void()> task) = 0;  // any thread; tasks run in order of posting
  virtual std::unique_ptr<Timer> make_timer() = 0;
  virtual const Clock& clock() const = 0;  // any thread
};

// One accepted byte stream.
class Connection {
 public:
  // Bytes are valid during the call only. Ok with no bytes: the peer has ended its side.
  using ReadHandler = std::function<void(const Status&, std::string_view bytes)>;
  using WriteHandler = std::function<void(const Status&, std::size_t written)>;

  virtual ~Connection() = default;
  virtual void read_some(ReadHandler handler) = 0;  // one at a time
  // One at a time; `bytes` must stay valid until the handler runs. May write a part only.
  virtual void write_some(std::string_view bytes, WriteHandler handler) = 0;
  // Bytes that are taken at once, without a handler; 0 where that is not known, or when something is wrong: write_some
  // tells. Not while a write_some is under way.
  virtual std::size_t write_now(std::string_view bytes) {
    static_cast<void>(bytes);
    return 0;
  }
  virtual void shutdown_send() = 0;  // ends our side after what was written
  virtual void close() = 0;          // at once; pending handlers run with kCancelled
  virtual std::string peer() const = 0;
};

class Listener {
 public:
  virtual ~Listener() = default;  // stops accepting
  virtual std::uint16_t port() const = 0;
};

using AcceptHandler = std::function<void(std::shared_ptr<Connection>)>;

}  // namespace foregate
