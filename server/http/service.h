// The HTTP API: gates requests by their header, routes them to handlers. Loop thread only.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/base/metrics.h"
#include "server/generate/frontend.h"
#include "server/http/gate.h"
#include "server/http/http_server.h"
#include "server/http/router.h"
#include "server/net/io.h"
#include "server/ops/grammar_report.h"
#include "server/ops/reply_report.h"

namespace foregate {

struct ServiceOptions : GateOptions {
  bool log_requests = false;
  bool page = true;   // at /
  bool slots = true;  // /slots
  std::string version;
  double request_timeout = 0;  // seconds a request may take; 0: as long as its caller lets it
};

// Answers /v1/files and /v1/batches. Loop thread only.
class FileHandler {
 public:
  struct Owner {
    std::uint64_t client = 0;  // the number of its key
    std::string name;          // that of the key in every run; empty: no key is needed
  };
  virtual ~FileHandler() = default;
  virtual void handle(std::shared_ptr<Exchange> exchange, const RouteMatch& match, const Owner& owner) = 0;
};

class Service {
 public:
  Service(IoLoop& loop, Frontend& frontend, ServiceOptions options, Metrics& metrics);
  HttpCallbacks callbacks();
  void set_files(FileHandler* files) { files_ = files; }  // null: none are kept; outlives the last request

 private:
  void handle(std::shared_ptr<Exchange> exchange);
  void generate(std::shared_ptr<Exchange> exchange, Endpoint endpoint);
  void simple(std::shared_ptr<Exchange> exchange, Endpoint endpoint);
  void files(std::shared_ptr<Exchange> exchange, const RouteMatch& match);
  void experts(std::shared_ptr<Exchange> exchange);
  void slots(std::shared_ptr<Exchange> exchange);
  HttpResponse health_response();
  HttpResponse live_response();
  HttpResponse openapi_response() const;
  HttpResponse models_response() const;
  HttpResponse page_response(const std::string& path) const;
  HttpResponse model_response(const std::string& id) const;
  HttpResponse version_response();
  double uptime() const;  // seconds
  std::string response_id(Endpoint endpoint, std::string_view named);

  IoLoop& loop_;
  Frontend& frontend_;
  ServiceOptions options_;
  Metrics& metrics_;
  Gate gate_;
  FileHandler* files_ = nullptr;
  GrammarReport grammars_;
  ReplyReport replies_;
  std::uint64_t next_response_ = 0;
  std::string id_prefix_;
  TimeNs started_;
};

}  // namespace foregate
