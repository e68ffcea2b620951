// Accepts connections, reads requests within limits and hands them to one handler; writes what the
// handler answers. Loop thread only. Sockets come through server/net/io.h.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "engine/base/metrics.h"
#include "server/http/message.h"
#include "server/http/request_reader.h"
#include "server/net/io.h"

namespace foregate {

struct HttpOptions {
  ReaderLimits reader;
  std::uint64_t max_body_bytes = 4u << 20;      // of a request whose gate sets no other; at most the reader's
  std::uint64_t total_body_bytes = 128u << 20;  // held by all connections
  std::size_t max_connections = 1024;
  double header_timeout = 10;
  double body_timeout = 60;
  double idle_timeout = 75;
  double stall_timeout = 30;
  std::size_t stream_buffer_bytes = 32768;  // pressure above; ended at sixteen times as much
};

struct HttpCallbacks {
  // Decides from the header alone, before the body is read, and sets the route label; a response here
  // ends the request.
  std::function<std::unique_ptr<HttpResponse>(HttpRequest& head)> gate;
  std::function<void(std::shared_ptr<Exchange>)> handle;
  // Headers of every answer to a request; may be empty.
  std::function<Headers(const HttpRequest& request)> headers;
  // Body of an error that the HTTP layer itself gives.
  std::function<std::string(int status, const std::string& message)> error_body;
};

class HttpServer {
 public:
  HttpServer(IoLoop& loop, const HttpOptions& options, HttpCallbacks callbacks, Metrics& metrics);
  ~HttpServer();
  void accept(std::shared_ptr<Connection> connection);
  // From now on every response closes its connection, and idle connections are closed.
  void begin_drain();
  void close_all();
  std::size_t connections() const;
  std::size_t answering() const;  // connections with a request in hand or bytes unsent

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace foregate
