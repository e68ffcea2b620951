#include "tools/load/tcp_client.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

namespace foregate {
namespace {

Status failed(const char* what, int error) {
  return unavailable(std::string(what) + ": " + std::strerror(error));
}

// Waits until the socket can be read or written, or the time is up.
Status wait_for(int fd, short events, ClientClock::time_point until) {
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - ClientClock::now()).count();
    pollfd one{fd, events, 0};
    const int ready = left <= 0 ? 0 : poll(&one, 1, static_cast<int>(left));
    if (ready > 0) return {};
    if (ready == 0) return Status(Code::kDeadlineExceeded, "no answer in time");
    if (errno != EINTR) return failed("poll", errno);
  }
}

Status connected(int fd, const addrinfo& at, ClientClock::time_point until) {
  const int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (::connect(fd, at.ai_addr, at.ai_addrlen) == 0) return {};
  if (errno != EINPROGRESS) return failed("connect", errno);
  RETURN_IF_ERROR(wait_for(fd, POLLOUT, until));
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
  return error == 0 ? Status() : failed("connect", error);
}

}  // namespace

TcpClient::~TcpClient() {
  if (fd_ >= 0) close(fd_);
}

Result<TcpClient> TcpClient::connect(const std::string& host, const std::string& port, ClientClock::time_point until) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  if (const int error = getaddrinfo(host.c_str(), port.c_str(), &hints, &list); error != 0) {
    return unavailable(host + ": " + gai_strerror(error));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(list, freeaddrinfo);
  Status last = unavailable(host + ": no address");
  for (const addrinfo* at = list; at != nullptr; at = at->ai_next) {
    TcpClient client;
    client.fd_ = socket(at->ai_family, at->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, at->ai_protocol);
    if (client.fd_ < 0) {
      last = failed("socket", errno);
      continue;
    }
    if (last = connected(client.fd_, *at, until); last.ok()) return client;
  }
  return last;
}

Status TcpClient::send(std::string_view bytes, ClientClock::time_point until) {
  while (!bytes.empty()) {
    RETURN_IF_ERROR(wait_for(fd_, POLLOUT, until));
    const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR) return failed("send", errno);
    if (n > 0) bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

Result<bool> TcpClient::receive(std::string& to, ClientClock::time_point until) {
  char piece[16384];
  for (;;) {
    RETURN_IF_ERROR(wait_for(fd_, POLLIN, until));
    const ssize_t n = recv(fd_, piece, sizeof piece, 0);
    if (n < 0 && errno != EAGAIN && errno != EINTR) return failed("recv", errno);
    if (n > 0) to.append(piece, static_cast<std::size_t>(n));
    if (n >= 0) return n > 0;
  }
}

}  // namespace foregate
