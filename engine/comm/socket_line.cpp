#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "engine/comm/byte_line.h"

namespace foregate {
namespace {

// Calls never block: they try, and wait in poll() for as long as the deadline lets them.
class SocketLine final : public ByteLine {
 public:
  explicit SocketLine(int fd) : fd_(fd) {}
  ~SocketLine() override { ::close(fd_); }
  SocketLine(const SocketLine&) = delete;
  SocketLine& operator=(const SocketLine&) = delete;

  void close() override { ::shutdown(fd_, SHUT_RDWR); }

 private:
  Status wait(short events, TimeNs deadline) const {
    int wait_ms = -1;
    if (deadline != kNoDeadline) {
      const TimeNs left = deadline - system_clock().now();
      if (left <= 0) return peer_late();
      wait_ms = static_cast<int>(std::min<TimeNs>(left / 1'000'000 + 1, 1'000'000));
    }
    pollfd wanted{.fd = fd_, .events = events, .revents = 0};
    ::poll(&wanted, 1, wait_ms);  // whatever it says, the next try tells
    return {};
  }

  // In one call, where the socket takes it all.
  Status write_both(std::span<const std::byte> header, std::span<const std::byte> body, TimeNs deadline) override {
    while (!header.empty() || !body.empty()) {
      iovec parts[2] = {{const_cast<std::byte*>(header.data()), header.size()},
                        {const_cast<std::byte*>(body.data()), body.size()}};
      msghdr message{};
      message.msg_iov = parts;
      message.msg_iovlen = 2;
      const ssize_t sent = ::sendmsg(fd_, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent > 0) {
        const std::size_t of_header = std::min(header.size(), static_cast<std::size_t>(sent));
        header = header.subspan(of_header);
        body = body.subspan(static_cast<std::size_t>(sent) - of_header);
      } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
        RETURN_IF_ERROR(wait(POLLOUT, deadline));
      } else if (errno != EINTR) {
        return peer_gone(std::strerror(errno));
      }
    }
    return {};
  }

  // What came with earlier bytes first. Bytes of a short message come with its header, in one call.
  Status read_all(std::span<std::byte> bytes, TimeNs deadline) override {
    TimeNs spun_until = 0;
    for (;;) {
      const std::size_t ready = std::min(bytes.size(), end_ - begin_);
      std::copy_n(ahead_.begin() + static_cast<std::ptrdiff_t>(begin_), ready, bytes.begin());
      begin_ += ready;
      bytes = bytes.subspan(ready);
      if (bytes.empty()) return {};
      const bool large = bytes.size() >= ahead_.size();
      const ssize_t got = large ? ::recv(fd_, bytes.data(), bytes.size(), MSG_DONTWAIT)
                                : ::recv(fd_, ahead_.data(), ahead_.size(), MSG_DONTWAIT);
      if (got > 0 && large) {
        bytes = bytes.subspan(static_cast<std::size_t>(got));
      } else if (got > 0) {
        begin_ = 0;
        end_ = static_cast<std::size_t>(got);
      } else if (got == 0) {
        return peer_gone();
      } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
        if (spin(spun_until)) continue;
        RETURN_IF_ERROR(wait(POLLIN, deadline));
      } else if (errno != EINTR) {
        return peer_gone(std::strerror(errno));
      }
    }
  }

  // Waking a thread that sleeps in poll() takes as long as a layer of a small model: an answer is looked for a little
  // while before that. The processor is offered to others all the time.
  static bool spin(TimeNs& until) {
    const TimeNs now = system_clock().now();
    if (until == 0) until = now + kSpinNs;
    if (now >= until) return false;
    ::sched_yield();
    return true;
  }

  static constexpr TimeNs kSpinNs = 200'000;
  const int fd_;
  std::array<std::byte, 4096> ahead_;  // read and not asked for yet: begin_ to end_
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

}  // namespace

std::unique_ptr<RankLine> socket_line(int fd) {
  return std::make_unique<SocketLine>(fd);
}

}  // namespace foregate
