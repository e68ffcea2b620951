// The HTTP API: gates requests by their header, routes them to handlers. Loop thread only.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/base/metrics.h"
#include "server/generate/frontend.h"
#include "server/http/http_server.h"
#include "server/http/router.h"
#include "server/net/io.h"
#include "server/ops/auth.h"
#include "server/ops/grammar_report.h"
#include "server/ops/reply_report.h"

namespace foregate {

struct ServiceOptions {
  std::vector<std::string> api_keys;
  bool log_requests = false;
  bool page = true;  // at /
  std::string version;
  double request_timeout = 0;  // seconds a request may take; 0: as long as its caller lets it
};

class Service {
 public:
  Service(IoLoop& loop, Frontend& frontend, ServiceOptions options, Metrics& metrics);
  HttpCallbacks callbacks();

 private:
  std::unique_ptr<HttpResponse> gate(HttpRequest& head);
  std::uint64_t client_of(const HttpRequest& request) const;
  void handle(std::shared_ptr<Exchange> exchange);
  void generate(std::shared_ptr<Exchange> exchange, Endpoint endpoint);
  void simple(std::shared_ptr<Exchange> exchange, Endpoint endpoint);
  void experts(std::shared_ptr<Exchange> exchange);
  HttpResponse health_response();
  HttpResponse live_response();
  HttpResponse models_response() const;
  HttpResponse page_response(const std::string& path) const;
  HttpResponse model_response(const std::string& id) const;
  HttpResponse version_response();
  double uptime() const;  // seconds
  std::string next_response_id(Endpoint endpoint);

  IoLoop& loop_;
  Frontend& frontend_;
  ServiceOptions options_;
  Metrics& metrics_;
  Auth auth_;
  GrammarReport grammars_;
  ReplyReport replies_;
  std::uint64_t next_response_ = 0;
  std::string id_prefix_;
  TimeNs started_;
};

}  // namespace foregate
