#include "server/generate/frontend.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "engine/base/checksum.h"

namespace foregate {
namespace {

Status full() {
  return resource_exhausted("too many requests wait to be read; try again later");
}

Status late() {
  return Status(Code::kDeadlineExceeded, "the deadline of the request has passed");
}

}  // namespace

Frontend::Frontend(IoLoop& loop, const FrontendOptions& options)
    : loop_(loop),
      mail_(std::make_shared<EventMail>(loop)),
      alive_(std::make_shared<bool>(true)),
      workers_(options.worker_threads, options.worker_queue) {}

Frontend::~Frontend() {
  *alive_ = false;
}

void Frontend::set_backend(std::shared_ptr<const ServedModel> served) {
  backend_ = std::move(served);
  health_.set_ready();
}

void Frontend::begin_drain() {
  health_.set_draining();
  if (backend_) backend_->engine->begin_drain();
}

void Frontend::fail_open(const Status& status) {
  const auto open = generations_;
  for (const auto& [key, weak] : open) {
    if (auto generation = weak.lock()) generation->fail(status);
  }
}

std::vector<OpenGeneration> Frontend::open_generations() const {
  std::vector<OpenGeneration> open;
  for (const auto& [key, weak] : generations_) {
    if (const auto generation = weak.lock()) open.push_back(generation->shown());
  }
  std::ranges::sort(open, {}, &OpenGeneration::first_request_id);
  return open;
}

ApiContext Frontend::context_now() const {
  ApiContext context = backend_->context;
  context.now_unix_seconds = loop_.clock().wall_seconds();
  return context;
}

void Frontend::generate(Parse parse, MakeAnswer make_answer, Refuse refuse, Caller caller, Started started) {
  const TimeNs arrival = loop_.clock().now();
  auto turn_down = refuse;
  auto back = [this, alive = alive_, make_answer = std::move(make_answer), refuse = std::move(refuse),
               started = std::move(started), arrival, caller](std::shared_ptr<Result<ApiRequest>> parsed) {
    if (*alive) start(std::move(*parsed), make_answer, refuse, arrival, caller, started);
  };
  // The loop's clock is the loop's own: a worker goes by how long the job lay there.
  using Wait = std::chrono::steady_clock;
  const auto until = Wait::now() + std::chrono::nanoseconds(caller.deadline == 0 ? 0 : caller.deadline - arrival);
  const bool taken = workers_.submit([this, served = backend_, context = context_now(), parse = std::move(parse),
                                      back = std::move(back), until, limited = caller.deadline != 0]() mutable {
    const bool passed = limited && Wait::now() >= until;
    auto parsed = std::make_shared<Result<ApiRequest>>(passed ? Result<ApiRequest>(late()) : parse(context));
    loop_.post(
        [back = std::move(back), parse = std::move(parse), parsed] { back(parsed); });  // what they hold ends there
  });
  if (!taken) return turn_down(full());
  ++parsing_;
}

void Frontend::start(Result<ApiRequest> parsed, const MakeAnswer& make_answer, const Refuse& refuse, TimeNs arrival,
                     Caller caller, const Started& started) {
  --parsing_;
  if (!parsed.ok()) return refuse(parsed.status());
  if (caller.deadline != 0 && loop_.clock().now() >= caller.deadline) return refuse(late());
  auto request = std::make_shared<const ApiRequest>(std::move(parsed).value());
  const std::uint64_t first_id = std::exchange(next_request_id_, next_request_id_ + request->prompts.size());
  auto answer = make_answer(backend_, request);
  if (caller.client == 0 && !request->cache_salt.empty()) caller.client = checksum(request->cache_salt);
  GenerationStart start{loop_,    mail_,   backend_,        std::move(request), std::move(answer),
                        first_id, arrival, caller.deadline, caller.client,      std::move(caller.trace),
                        report_};
  auto generation = std::make_shared<Generation>(std::move(start), [this, alive = alive_](Generation* ended) {
    if (*alive) generations_.erase(ended);
  });
  generations_.emplace(generation.get(), generation);
  if (started) started(generation);
  generation->start();
}

void Frontend::run(Work work, Done done) {
  auto turn_down = done;
  const bool taken = workers_.submit(
      [this, served = backend_, context = context_now(), work = std::move(work), done = std::move(done)]() mutable {
        const Status status = work(context);
        loop_.post([done = std::move(done), work = std::move(work), status] { done(status); });
      });
  if (!taken) turn_down(full());
}

}  // namespace foregate
