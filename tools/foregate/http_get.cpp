#include "tools/foregate/http_get.h"

#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>

namespace foregate {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kMostBytes = 64 << 10;

class Socket {
 public:
  explicit Socket(int fd) : fd_(fd) {}
  ~Socket() {
    if (fd_ >= 0) close(fd_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  int fd() const { return fd_; }

 private:
  int fd_;
};

Status failed(const char* what, int error) {
  return unavailable(std::string(what) + ": " + std::strerror(error));
}

// Waits until the socket can be read or written, or the time is up.
Status wait_for(int fd, short events, Clock::time_point until) {
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now()).count();
    pollfd one{fd, events, 0};
    const int ready = left <= 0 ? 0 : poll(&one, 1, static_cast<int>(left));
    if (ready > 0) return {};
    if (ready == 0) return Status(Code::kDeadlineExceeded, "no answer in time");
    if (errno != EINTR) return failed("poll", errno);
  }
}

Status connected(int fd, const addrinfo& at, Clock::time_point until) {
  if (connect(fd, at.ai_addr, at.ai_addrlen) == 0) return {};
  if (errno != EINPROGRESS) return failed("connect", errno);
  RETURN_IF_ERROR(wait_for(fd, POLLOUT, until));
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
  return error == 0 ? Status() : failed("connect", error);
}

Result<std::string> exchange(int fd, const std::string& request, Clock::time_point until) {
  for (std::size_t sent = 0; sent < request.size();) {
    RETURN_IF_ERROR(wait_for(fd, POLLOUT, until));
    const ssize_t n = send(fd, request.data() + sent, request.size() - sent, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR) return failed("send", errno);
    if (n > 0) sent += static_cast<std::size_t>(n);
  }
  std::string reply;
  char piece[4096];
  for (;;) {
    RETURN_IF_ERROR(wait_for(fd, POLLIN, until));
    const ssize_t n = recv(fd, piece, sizeof piece, 0);
    if (n == 0) return reply;
    if (n < 0 && errno != EAGAIN && errno != EINTR) return failed("recv", errno);
    if (n > 0) reply.append(piece, static_cast<std::size_t>(n));
    if (reply.size() > kMostBytes) return unavailable("the reply is longer than 64 KiB");
  }
}

Result<HttpReply> parsed(const std::string& text) {
  HttpReply reply;
  const std::size_t head = text.find("\r\n\r\n");
  if (text.rfind("HTTP/1.", 0) != 0 || head == std::string::npos) return unavailable("the reply is not HTTP");
  reply.status = std::atoi(text.c_str() + std::min(text.find(' '), text.size()));
  reply.body = text.substr(head + 4);
  return reply;
}

}  // namespace

Result<HttpPlace> parse_http_url(const std::string& url) {
  const std::string scheme = "http://";
  if (url.rfind(scheme, 0) != 0) return invalid_argument("must begin with http://", "url");
  HttpPlace place;
  const std::size_t slash = std::min(url.find('/', scheme.size()), url.size());
  std::string host = url.substr(scheme.size(), slash - scheme.size());
  if (slash < url.size()) place.path = url.substr(slash);
  const std::size_t colon = host.rfind(':');
  if (colon != std::string::npos && host.find(']', colon) == std::string::npos) {
    place.port = host.substr(colon + 1);
    host.resize(colon);
  } else {
    place.port = "80";
  }
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  const bool digits = std::all_of(place.port.begin(), place.port.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (host.empty() || place.port.empty() || !digits) return invalid_argument("must be http://HOST[:PORT]", "url");
  for (const char c : url) {
    if (static_cast<unsigned char>(c) <= ' ' || c == 127) return invalid_argument("has a space or control byte", "url");
  }
  place.host = host;
  return place;
}

Result<HttpReply> http_get(const HttpPlace& place, double seconds) {
  const auto until = Clock::now() + std::chrono::milliseconds(static_cast<long>(seconds * 1000));
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  if (const int error = getaddrinfo(place.host.c_str(), place.port.c_str(), &hints, &list); error != 0) {
    return unavailable(place.host + ": " + gai_strerror(error));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(list, freeaddrinfo);
  const std::string request =
      "GET " + place.path + " HTTP/1.1\r\nHost: " + place.host + "\r\nConnection: close\r\n\r\n";
  Status last = unavailable(place.host + ": no address");
  for (const addrinfo* at = list; at != nullptr; at = at->ai_next) {
    const Socket one(socket(at->ai_family, at->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, at->ai_protocol));
    if (one.fd() < 0) continue;
    if (last = connected(one.fd(), *at, until); !last.ok()) continue;
    ASSIGN_OR_RETURN(const std::string reply, exchange(one.fd(), request, until));
    return parsed(reply);
  }
  return last;
}

}  // namespace foregate
