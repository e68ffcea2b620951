// What is decided from a request's header alone, before its body is read: route and method, key, media type, readiness,
// room, and how much its client asks. Loop thread only.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "server/generate/frontend.h"
#include "server/http/message.h"
#include "server/http/router.h"
#include "server/ops/auth.h"
#include "server/ops/client_gate.h"

namespace foregate {

struct GateOptions {
  std::vector<std::string> api_keys;
  std::string admin_key;
  std::vector<std::string> allowed_origins;  // of other sites whose pages may ask; "*": any; empty: none
  std::uint64_t max_file_bytes = 0;          // body of a form; others have the server's limit
  ClientGate* clients = nullptr;             // how much each client may ask; null: as it likes
};

// kInvalidArgument for what is no origin: "*", or scheme://host[:port] as browsers send it.
Status check_origin(const std::string& origin);

class Gate {
 public:
  // `frontend` outlives it.
  Gate(Frontend& frontend, GateOptions options);
  // Null lets the request in; sets its route and what it holds.
  std::unique_ptr<HttpResponse> check(HttpRequest& head);
  // Headers of every answer to this request: for pages of other sites (CORS, https://fetch.spec.whatwg.org).
  Headers headers_of(const HttpRequest& request) const;
  // The number of the client's key; 0: no key is needed.
  std::uint64_t client_of(const HttpRequest& request) const;
  const Auth& auth() const { return auth_; }

 private:
  std::unique_ptr<HttpResponse> no_route(const HttpRequest& head, const RouteMatch& match) const;
  std::unique_ptr<HttpResponse> check_key(const HttpRequest& head, const Route& route) const;
  std::unique_ptr<HttpResponse> enter(HttpRequest& head, const Route& route, std::uint64_t client) const;
  bool allows_origin(std::string_view origin) const;

  Frontend& frontend_;
  const GateOptions options_;
  const Auth auth_;
};

}  // namespace foregate
