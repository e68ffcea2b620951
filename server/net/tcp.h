// The socket seam over TCP (Asio inside). run() is the I/O thread.
#pragma once

#include <vector>

#include "server/net/io.h"

namespace foregate {

struct TcpOptions {
  std::string host = "127.0.0.1";  // numeric address or name
  std::uint16_t port = 0;          // 0 = any free one
  int send_buffer_bytes = 131072;
};

class TcpLoop : public IoLoop {
 public:
  virtual void run() = 0;        // until stop()
  virtual void stop() = 0;       // any thread
  virtual void run_ready() = 0;  // after run(): what is due now, without waiting
  // kInvalidArgument for a name that does not resolve, kUnavailable when the port is taken.
  virtual Result<std::unique_ptr<Listener>> listen(const TcpOptions& options, AcceptHandler on_accept) = 0;
  // Calls `handler` for every arrival of one of these signals from now on.
  virtual void watch_signals(const std::vector<int>& signals, std::function<void(int)> handler) = 0;
};

std::unique_ptr<TcpLoop> make_tcp_loop();

}  // namespace foregate
