// The API over one served: routes requests to handlers, runs parsing on workers, keeps track of
// the answers that are open, and drains. Loop thread only, except where a worker is named.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>

#include "engine/base/metrics.h"
#include "server/http/generation.h"
#include "server/http/http_server.h"
#include "server/http/router.h"
#include "server/http/served_model.h"
#include "server/net/io.h"
#include "server/ops/auth.h"
#include "server/ops/health.h"
#include "server/ops/worker_pool.h"

namespace foregate {

struct ServiceOptions {
  std::vector<std::string> api_keys;
  std::size_t worker_threads = 2;
  std::size_t worker_queue = 256;
  bool log_requests = false;
  std::string version;
};

class Service {
 public:
  Service(IoLoop& loop, ServiceOptions options, Metrics& metrics);
  ~Service();
  HttpCallbacks callbacks();
  void set_backend(std::shared_ptr<const ServedModel> served);  // from loading to ready
  void set_failed(const std::string& reason);
  void release_backend() { backend_ = nullptr; }  // at the very end, when nothing is open
  void begin_drain();                             // new work is refused from now on; open answers go on
  void fail_open(const Status& status);           // ends what is still open
  std::size_t open_answers() const { return generations_.size() + parsing_; }
  bool engine_idle() const;

 private:
  std::unique_ptr<HttpResponse> gate(HttpRequest& head);
  void handle(std::shared_ptr<Exchange> exchange);
  void generate(std::shared_ptr<Exchange> exchange, ApiKind kind);
  void parsed(std::shared_ptr<Exchange> exchange, Result<ApiRequest> request, TimeNs arrival);
  void simple(std::shared_ptr<Exchange> exchange, Endpoint endpoint);
  HttpResponse health_response();
  HttpResponse models_response() const;
  HttpResponse model_response(const std::string& id) const;
  HttpResponse version_response();
  bool engine_healthy() const;
  std::string next_response_id(ApiKind kind);

  IoLoop& loop_;
  ServiceOptions options_;
  Metrics& metrics_;
  Auth auth_;
  Health health_;
  std::shared_ptr<const ServedModel> backend_;
  std::unordered_map<Generation*, std::weak_ptr<Generation>> generations_;
  std::size_t parsing_ = 0;
  std::uint64_t next_request_id_ = 1;
  std::uint64_t next_response_ = 0;
  std::string id_prefix_;
  TimeNs started_;
  std::shared_ptr<bool> alive_;  // false once this is gone; tasks that come back look first
  WorkerPool workers_;           // last: its threads end before the rest goes
};

}  // namespace foregate
