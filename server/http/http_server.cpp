#include "server/http/http_server.h"

#include <algorithm>
#include <iterator>
#include <vector>

#include "server/http/http_session.h"

namespace foregate {
namespace {

// Connections beyond the cap get a 503; beyond this many more they are closed without a word.
constexpr std::size_t kMaxRefusals = 64;

std::string method_label(const std::string& method) {
  for (const char* known : {"GET", "POST", "HEAD", "OPTIONS", "DELETE"}) {
    if (method == known) return method;
  }
  return "other";
}

}  // namespace

HttpShared::HttpShared(IoLoop& io_loop, const HttpOptions& http_options, HttpCallbacks http_callbacks,
                       Metrics& registry)
    : loop(io_loop),
      options(http_options),
      callbacks(std::move(http_callbacks)),
      metrics(registry),
      connections(registry.gauge("foregate:http_connections", "Open client connections")),
      stalled(registry.counter("foregate:http_stalled_clients", "Clients dropped because they read too slowly")),
      gone(registry.counter("foregate:http_clients_gone", "Clients that left before their answer was complete")),
      refused(registry.counter("foregate:http_connections_refused", "Connections refused at the connection limit")) {}

void HttpShared::count_response(const HttpRequest& request, int status) {
  metrics
      .counter(
          "http_requests", "Answered HTTP requests",
          {{"method", method_label(request.method)}, {"handler", request.route}, {"status", std::to_string(status)}})
      .add();
}

void HttpShared::flush_soon(std::shared_ptr<HttpSession> session) {
  const bool first = unsent.empty();
  unsent.push_back(std::move(session));
  if (first) loop.post([self = shared_from_this()] { self->flush(); });
}

void HttpShared::flush() {
  std::swap(flushing, unsent);  // a session that is flushed may have more to send
  for (const auto& session : flushing) session->flush();
  flushing.clear();
}

struct HttpServer::Impl {
  std::shared_ptr<HttpShared> shared;
};

HttpServer::HttpServer(IoLoop& loop, const HttpOptions& options, HttpCallbacks callbacks, Metrics& metrics)
    : impl_(std::make_shared<Impl>()) {
  impl_->shared = std::make_shared<HttpShared>(loop, options, std::move(callbacks), metrics);
}

HttpServer::~HttpServer() {
  close_all();
}

void HttpServer::accept(std::shared_ptr<Connection> connection) {
  HttpShared& shared = *impl_->shared;
  const std::size_t open = shared.sessions.size();
  if (open >= shared.options.max_connections + kMaxRefusals) {
    shared.refused.add();
    return connection->close();
  }
  auto session = std::make_shared<HttpSession>(impl_->shared, std::move(connection));
  shared.sessions.emplace(session.get(), session);
  shared.connections.set(static_cast<double>(shared.sessions.size()));
  if (open >= shared.options.max_connections) {
    shared.refused.add();
    return session->refuse(503, "the server has too many open connections; try again later");
  }
  session->start();
}

void HttpServer::begin_drain() {
  HttpShared& shared = *impl_->shared;
  shared.draining = true;
  const auto sessions = shared.sessions;  // closing edits the map
  for (const auto& [key, session] : sessions) session->close_if_idle();
}

void HttpServer::close_all() {
  const auto sessions = impl_->shared->sessions;
  for (const auto& [key, session] : sessions) session->close();
}

std::size_t HttpServer::connections() const {
  return impl_->shared->sessions.size();
}

std::size_t HttpServer::answering() const {
  const auto& sessions = impl_->shared->sessions;
  return static_cast<std::size_t>(
      std::count_if(sessions.begin(), sessions.end(), [](const auto& entry) { return entry.second->answering(); }));
}

}  // namespace foregate
