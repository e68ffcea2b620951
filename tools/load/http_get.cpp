#include "tools/load/http_get.h"

#include <algorithm>

#include "tools/load/http_body.h"
#include "tools/load/tcp_client.h"
#include "tools/load/tls_client.h"

namespace foregate {
namespace {

constexpr std::size_t kMostBytes = 64 << 10;

}  // namespace

Result<HttpPlace> parse_http_url(const std::string& url) {
  HttpPlace place;
  place.tls = url.rfind("https://", 0) == 0;
  const std::string scheme = place.tls ? "https://" : "http://";
  if (url.rfind(scheme, 0) != 0) return invalid_argument("must begin with http:// or https://", "url");
  const std::size_t slash = std::min(url.find('/', scheme.size()), url.size());
  std::string host = url.substr(scheme.size(), slash - scheme.size());
  if (slash < url.size()) place.path = url.substr(slash);
  const std::size_t colon = host.rfind(':');
  if (colon != std::string::npos && host.find(']', colon) == std::string::npos) {
    place.port = host.substr(colon + 1);
    host.resize(colon);
  } else {
    place.port = place.tls ? "443" : "80";
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

namespace {

template <class Client>
Result<HttpReply> get_by(const HttpPlace& place, ClientClock::time_point until) {
  ASSIGN_OR_RETURN(Client client, Client::connect(place.host, place.port, until));
  const std::string request =
      "GET " + place.path + " HTTP/1.1\r\nHost: " + place.host + "\r\nConnection: close\r\n\r\n";
  RETURN_IF_ERROR(client.send(request, until));
  HttpBody answer;
  for (bool more = true; more && !answer.complete();) {
    std::string bytes;
    ASSIGN_OR_RETURN(more, client.receive(bytes, until));
    RETURN_IF_ERROR(answer.take(bytes));
    if (answer.body().size() > kMostBytes) return unavailable("the reply is longer than 64 KiB");
  }
  if (answer.status() == 0) return unavailable("the reply is not HTTP");
  return HttpReply{answer.status(), answer.body()};
}

}  // namespace

Result<HttpReply> http_get(const HttpPlace& place, double seconds) {
  const auto until = ClientClock::now() + std::chrono::milliseconds(static_cast<long>(seconds * 1000));
  return place.tls ? get_by<TlsClient>(place, until) : get_by<TcpClient>(place, until);
}

}  // namespace foregate
