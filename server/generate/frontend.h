// What every protocol in front of the engine shares: readiness, parsing on worker threads, request ids, the answers
// that are open, and the drain. Loop thread only, except where a worker is named.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "server/generate/generation.h"
#include "server/generate/served_model.h"
#include "server/net/io.h"
#include "server/ops/health.h"
#include "server/ops/worker_pool.h"

namespace foregate {

struct FrontendOptions {
  std::size_t worker_threads = 2;
  std::size_t worker_queue = 256;
};

struct Caller {
  std::uint64_t client = 0;  // number of its key; 0: no key is needed, and its salt says who it is
  TimeNs deadline = 0;       // by the loop's clock; 0 = none
  TraceParent trace;         // that it belongs to
};

class Frontend {
 public:
  using Parse = std::function<Result<ApiRequest>(const ApiContext&)>;  // on a worker
  using MakeAnswer =
      std::function<std::unique_ptr<Answer>(std::shared_ptr<const ServedModel>, std::shared_ptr<const ApiRequest>)>;
  using Refuse = std::function<void(const Status&)>;
  using Work = std::function<Status(const ApiContext&)>;  // on a worker
  using Done = std::function<void(const Status&)>;
  // Told of a generation just before it starts, e.g. to find it again by a client's own id.
  using Started = std::function<void(const std::shared_ptr<Generation>&)>;

  Frontend(IoLoop& loop, const FrontendOptions& options);
  ~Frontend();
  void set_backend(std::shared_ptr<const ServedModel> served);        // from loading to ready
  void set_report(ReportEnd report) { report_ = std::move(report); }  // hears of the end of every generation
  void set_failed(const std::string& reason) { health_.set_failed(reason); }
  void release_backend() { backend_ = nullptr; }   // at the very end, when nothing is open
  void begin_leaving() { health_.set_leaving(); }  // not ready any more; who still asks is served
  void begin_drain();                              // new work is refused from now on; open answers go on
  void fail_open(const Status& status);            // ends what is still open

  const std::shared_ptr<const ServedModel>& backend() const { return backend_; }
  bool engine_idle() const { return !backend_ || backend_->engine->idle(); }
  bool engine_healthy() const { return !backend_ || backend_->engine->healthy(); }
  // Whether the engine would take anything of this client now; needs a backend.
  Status check_room(std::uint64_t client) const { return backend_->engine->check_room(client); }
  bool accepts() const { return health_.accepts(engine_healthy()); }
  const char* health_word() const { return health_.word(engine_healthy()); }  // as Health::word
  const std::string& health_reason() const { return health_.reason(); }
  std::size_t open_answers() const { return generations_.size() + parsing_; }
  std::vector<OpenGeneration> open_generations() const;  // by arrival; those whose bodies are being read are not in it

  // Needs a backend. Parses on a worker, then runs the generation; `refuse` hears of a request that is never submitted.
  void generate(Parse parse, MakeAnswer make_answer, Refuse refuse, Caller caller = {}, Started started = {});
  // Needs a backend. Runs `work` on a worker, then `done` on the loop.
  void run(Work work, Done done);

 private:
  ApiContext context_now() const;
  void start(Result<ApiRequest> parsed, const MakeAnswer& make_answer, const Refuse& refuse, TimeNs arrival,
             Caller caller, const Started& started);

  IoLoop& loop_;
  std::shared_ptr<EventMail> mail_;
  Health health_;
  std::shared_ptr<const ServedModel> backend_;
  std::unordered_map<Generation*, std::weak_ptr<Generation>> generations_;
  std::size_t parsing_ = 0;
  ReportEnd report_;
  std::uint64_t next_request_id_ = 1;
  std::shared_ptr<bool> alive_;  // false once this is gone; tasks that come back look first
  WorkerPool workers_;           // last: its threads end before the rest goes
};

}  // namespace foregate
