// A TCP connection of a client, every wait bounded by a point in time. Blocks its thread; one thread each.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <utility>

#include "engine/base/status.h"

namespace foregate {

using ClientClock = std::chrono::steady_clock;

class TcpClient {
 public:
  TcpClient() = default;
  TcpClient(TcpClient&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  TcpClient& operator=(TcpClient&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~TcpClient();
  // kUnavailable when nobody listens, kDeadlineExceeded when the time is up.
  static Result<TcpClient> connect(const std::string& host, const std::string& port, ClientClock::time_point until);
  Status send(std::string_view bytes, ClientClock::time_point until);
  // Appends what has come, waiting for something; false at the end of the stream.
  Result<bool> receive(std::string& to, ClientClock::time_point until);

 private:
  int fd_ = -1;
};

}  // namespace foregate
