// One HTTP request and the ways to answer it, free of any HTTP library. Loop thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace foregate {

using Headers = std::vector<std::pair<std::string, std::string>>;  // names in lower case

struct HttpRequest {
  std::string method;  // as sent
  std::string path;    // without the query
  std::string query;
  std::string route = "other";  // label of the route that took it, for metrics; set by the gate
  Headers headers;
  std::string body;
  std::string peer;
  // Whose it is, of a request that the server makes itself: no key is asked for.
  std::optional<std::uint64_t> client;
  std::uint64_t body_limit = 0;  // set by the gate; 0: that of the reader
  std::shared_ptr<void> held;    // set by the gate; kept until the request is answered
  bool http_1_1 = true;
  bool keep_alive = true;
  std::string_view header(std::string_view lower_case_name) const;  // first of that name, or empty
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  Headers headers;
  std::string body;
};

// The answer to one request. Either respond(), or begin_stream(), send()..., end_stream(). Calls
// after the client has gone or the answer is complete do nothing.
class Exchange {
 public:
  virtual ~Exchange() = default;
  virtual HttpRequest& request() = 0;
  virtual void respond(HttpResponse response) = 0;
  virtual void begin_stream(const std::string& content_type, const Headers& headers) = 0;
  virtual void send(std::string_view piece) = 0;
  virtual void end_stream() = 0;
  virtual void break_off() {}     // of a stream that cannot be made whole: its connection is closed without an end
  virtual bool open() const = 0;  // false once the client has gone or the answer is complete
  // The client went away (or read nothing for too long) before the answer was complete.
  virtual void on_gone(std::function<void(const char* cause)> handler) = 0;
  // true: more unsent bytes than the stream buffer holds; false: most of them have left.
  virtual void on_pressure(std::function<void(bool pressed)> handler) = 0;
};

const char* http_reason(int status);

// The header that tells the id of an answer; none where the client gave the request a name, which every answer brings
// back.
Headers id_header(const HttpRequest& request, const std::string& id);

}  // namespace foregate
