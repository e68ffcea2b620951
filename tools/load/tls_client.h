// TLS over a TcpClient, for asking a server of one's own how it is: what is sent cannot be read on the way, but nobody
// checks the certificate. Blocks its thread; one thread each.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "tools/load/tcp_client.h"

namespace foregate {

class TlsClient {
 public:
  // Errors as those of TcpClient; kUnavailable too when the handshake fails.
  static Result<TlsClient> connect(const std::string& host, const std::string& port, ClientClock::time_point until);
  TlsClient(TlsClient&&) noexcept;
  ~TlsClient();
  Status send(std::string_view bytes, ClientClock::time_point until);
  // Appends what has come, waiting for something; false at the end of the stream.
  Result<bool> receive(std::string& to, ClientClock::time_point until);

 private:
  struct State;
  explicit TlsClient(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace foregate
