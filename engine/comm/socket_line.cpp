#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include "engine/comm/transport.h"

namespace foregate {
namespace {

// Calls never block: they try, and wait in poll() for as long as the deadline lets them.
class SocketLine final : public RankLine {
 public:
  explicit SocketLine(int fd) : fd_(fd) {}
  ~SocketLine() override { ::close(fd_); }
  SocketLine(const SocketLine&) = delete;
  SocketLine& operator=(const SocketLine&) = delete;

  Status send(MessageKind kind, std::uint64_t epoch, std::span<const std::byte> body, TimeNs deadline) override {
    std::byte header[kMessageHeaderBytes];
    write_header({kind, epoch, body.size()}, header);
    return closing_on_error([&]() -> Status {
      RETURN_IF_ERROR(write_all(header, deadline));
      return write_all(body, deadline);
    }());
  }

  Result<Message> receive(const MessageBounds& bounds, TimeNs deadline) override {
    Message message;
    const Status read = closing_on_error(read_message(bounds, deadline, message));
    if (!read.ok()) return read;
    return message;
  }

  void close() override { ::shutdown(fd_, SHUT_RDWR); }

 private:
  Status closing_on_error(Status status) {
    if (!status.ok()) close();
    return status;
  }

  Status read_message(const MessageBounds& bounds, TimeNs deadline, Message& message) {
    std::byte bytes[kMessageHeaderBytes];
    RETURN_IF_ERROR(read_all(bytes, deadline));
    ASSIGN_OR_RETURN(const MessageHeader header, read_header(bytes, bounds));
    message.kind = header.kind;
    message.epoch = header.epoch;
    message.body.resize(header.body_bytes);
    return read_all(message.body, deadline);
  }

  Status wait(short events, TimeNs deadline) const {
    int wait_ms = -1;
    if (deadline != kNoDeadline) {
      const TimeNs left = deadline - system_clock().now();
      if (left <= 0) return Status(Code::kDeadlineExceeded, "the other rank does not answer in time");
      wait_ms = static_cast<int>(std::min<TimeNs>(left / 1'000'000 + 1, 1'000'000));
    }
    pollfd wanted{.fd = fd_, .events = events, .revents = 0};
    ::poll(&wanted, 1, wait_ms);  // whatever it says, the next try tells
    return {};
  }

  Status write_all(std::span<const std::byte> bytes, TimeNs deadline) const {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent > 0) {
        bytes = bytes.subspan(static_cast<std::size_t>(sent));
      } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
        RETURN_IF_ERROR(wait(POLLOUT, deadline));
      } else if (errno != EINTR) {
        return unavailable(std::string("the other rank is gone: ") + std::strerror(errno));
      }
    }
    return {};
  }

  Status read_all(std::span<std::byte> bytes, TimeNs deadline) const {
    while (!bytes.empty()) {
      const ssize_t got = ::recv(fd_, bytes.data(), bytes.size(), MSG_DONTWAIT);
      if (got > 0) {
        bytes = bytes.subspan(static_cast<std::size_t>(got));
      } else if (got == 0) {
        return unavailable("the other rank is gone");
      } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
        RETURN_IF_ERROR(wait(POLLIN, deadline));
      } else if (errno != EINTR) {
        return unavailable(std::string("the other rank is gone: ") + std::strerror(errno));
      }
    }
    return {};
  }

  const int fd_;
};

}  // namespace

std::unique_ptr<RankLine> socket_line(int fd) {
  return std::make_unique<SocketLine>(fd);
}

}  // namespace foregate
