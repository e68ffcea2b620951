#include "server/grpc/inference_service.h"

#include <chrono>
#include <utility>

#include "engine/api/limits.h"
#include "server/grpc/grpc_answer.h"
#include "server/grpc/grpc_status.h"
#include "server/grpc/request_body.h"
#include "server/grpc/wire_text.h"
#include "server/ops/deadline.h"
#include "server/ops/retry_after.h"
#include "server/ops/trace_parent.h"

namespace foregate {
namespace {

grpc::Status too_many_calls() {
  return {grpc::StatusCode::RESOURCE_EXHAUSTED, "too many calls are open; try again later"};
}
grpc::Status no_key() {
  return {grpc::StatusCode::UNAUTHENTICATED, "a valid API key is needed: authorization: Bearer KEY"};
}

std::string_view metadata_of(const grpc::ServerContextBase& context, const char* name) {
  const auto& metadata = context.client_metadata();
  const auto found = metadata.find(name);
  return found == metadata.end() ? std::string_view() : std::string_view(found->second.data(), found->second.size());
}

std::string_view authorization(const grpc::ServerContextBase& context) {
  return metadata_of(context, "authorization");
}

// The call's deadline by the loop's clock; 0: none.
TimeNs deadline_of(const grpc::ServerContextBase& context, TimeNs now) {
  using namespace std::chrono;
  const system_clock::time_point deadline = context.deadline();
  if (deadline == system_clock::time_point::max()) return 0;
  const auto left = duration_cast<nanoseconds>(deadline - system_clock::now()).count();
  constexpr TimeNs kYear = 365ll * 86400 * 1'000'000'000;
  return left > kYear ? 0 : std::max<TimeNs>(1, now + left);
}

}  // namespace

InferenceService::InferenceService(IoLoop& loop, Frontend& frontend, const GrpcOptions& options, Metrics& metrics)
    : loop_(loop),
      frontend_(frontend),
      options_(options),
      metrics_(metrics),
      auth_(options.api_keys, options.admin_key),
      started_(loop.clock().now()),
      alive_(std::make_shared<bool>(true)) {}

InferenceService::~InferenceService() {
  *alive_ = false;
}

bool InferenceService::allowed(const grpc::ServerContextBase& context) const {
  return auth_.allows(authorization(context));
}

Caller InferenceService::caller_of(const grpc::ServerContextBase& context) const {
  const TimeNs now = loop_.clock().now();
  const TimeNs deadline = earlier_deadline(now, deadline_of(context, now), options_.request_timeout);
  return {auth_.needed() || auth_.has_admin() ? auth_.which(authorization(context)) : 0, deadline,
          parse_traceparent(metadata_of(context, "traceparent"))};
}

bool InferenceService::enter() {
  if (open_calls_.fetch_add(1) < options_.max_calls) return true;
  open_calls_.fetch_sub(1);
  return false;
}

void InferenceService::leave(const char* method, grpc::StatusCode code) {
  open_calls_.fetch_sub(1);
  count(method, code);
}

void InferenceService::count(const char* method, grpc::StatusCode code) {
  metrics_.counter("foregate:grpc_calls", "gRPC calls that ended", {{"method", method}, {"code", grpc_code_name(code)}})
      .add();
}

void InferenceService::accept_generate(std::shared_ptr<CallQueue> queue) {
  GenerateCall::Accept accept;
  accept.ask = [this](auto* context, auto* request, auto* writer, auto* completions, void* tag) {
    RequestGenerate(context, request, writer, completions, completions, tag);
  };
  accept.on_begin = [this](const std::shared_ptr<GenerateCall>& call) { accepted(call); };
  accept.on_end = [this, alive = alive_](GenerateCall* call, grpc::StatusCode code) {
    if (*alive) ended(*call, code);
  };
  const StreamLimits limits{options_.stream_buffer_bytes, options_.stall_timeout};
  GenerateCall::accept(loop_, std::move(queue), limits, std::move(accept));
}

void InferenceService::accepted(const std::shared_ptr<GenerateCall>& call) {
  const bool known = allowed(call->context());
  const bool entered = enter();
  loop_.post([this, alive = alive_, call, known, entered] {
    if (!*alive) return call->finish(grpc::Status(grpc::StatusCode::UNAVAILABLE, "the server is shutting down"));
    calls_.emplace(call.get(), Open{call, entered, nullptr});
    if (!known) return call->finish(no_key());
    if (entered) return begin(call);
    call->context().AddTrailingMetadata(kPushbackMetadata, retry_pushback_ms());
    call->finish(too_many_calls());
  });
}

void InferenceService::ended(GenerateCall& call, grpc::StatusCode code) {
  const auto found = calls_.find(&call);
  const bool entered = found != calls_.end() && found->second.entered;
  if (found != calls_.end()) calls_.erase(found);
  forget(call.request().request_id());
  entered ? leave("Generate", code) : count("Generate", code);
}

grpc::Status InferenceService::take_id(const std::string& id, const std::shared_ptr<GenerateCall>& call) {
  if (id.empty()) return grpc::Status::OK;
  if (id.size() > kMaxRequestIdBytes) {
    return {grpc::StatusCode::INVALID_ARGUMENT,
            "request_id is longer than " + std::to_string(kMaxRequestIdBytes) + " bytes"};
  }
  const auto [place, taken] = running_.try_emplace(id, Running{call, {}});
  if (!taken && place->second.call->open()) {
    return {grpc::StatusCode::ALREADY_EXISTS, "request_id is that of a call that runs"};
  }
  place->second = Running{call, {}};
  return grpc::Status::OK;
}

void InferenceService::forget(const std::string& id) {
  const auto found = running_.find(id);
  if (found != running_.end() && !found->second.call->open()) running_.erase(found);
}

void InferenceService::end_all() {
  for (const auto& [key, one] : std::unordered_map(calls_)) {
    const auto call = one.call.lock();
    if (call && call->open()) call->finish(grpc_status(unavailable("the server is shutting down"), call->context()));
  }
}

void InferenceService::begin(const std::shared_ptr<GenerateCall>& call) {
  if (!call->open()) return call->finish(grpc::Status::CANCELLED);
  const auto refuse = [call](const Status& status) {
    if (call->open()) call->finish(grpc_status(status, call->context()));
  };
  if (!frontend_.accepts()) {
    return refuse(unavailable(std::string("the server is not ready: ") + frontend_.health_word()));
  }
  const Caller caller = caller_of(call->context());
  if (const Status room = frontend_.check_room(caller.client); !room.ok()) return refuse(room);
  if (options_.clients != nullptr && !auth_.is_admin(authorization(call->context()))) {
    ClientGate::Entry entry = options_.clients->enter(caller.client);
    if (!entry.refused.ok()) return refuse(entry.refused);
    calls_[call.get()].held = std::move(entry.held);
  }
  const grpc::Status taken = take_id(call->request().request_id(), call);
  if (!taken.ok()) return call->finish(taken);
  const auto parse = [call](const ApiContext& context) { return read_generate(call->request(), context); };
  const auto answer = [call](std::shared_ptr<const ServedModel>, std::shared_ptr<const ApiRequest> asked) {
    return std::make_unique<GrpcAnswer>(call, std::move(asked), call->request().request_id());
  };
  const auto started = [this, alive = alive_,
                        id = call->request().request_id()](const std::shared_ptr<Generation>& generation) {
    const auto found = *alive ? running_.find(id) : running_.end();
    if (*alive && found != running_.end()) found->second.generation = generation;
  };
  frontend_.generate(parse, answer, refuse, caller, started);
}

grpc::ServerUnaryReactor* InferenceService::unary(grpc::CallbackServerContext* context, const char* method, bool open,
                                                  Unary body) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  if (!open && !allowed(*context)) {
    count(method, grpc::StatusCode::UNAUTHENTICATED);
    reactor->Finish(no_key());
    return reactor;
  }
  if (!enter()) {
    count(method, grpc::StatusCode::RESOURCE_EXHAUSTED);
    context->AddTrailingMetadata(kPushbackMetadata, retry_pushback_ms());
    reactor->Finish(too_many_calls());
    return reactor;
  }
  const auto done = [this, alive = alive_, context, reactor, method](const Status& status) {
    const grpc::Status answer = grpc_status(status, *context);
    if (*alive) leave(method, answer.error_code());
    reactor->Finish(answer);
  };
  loop_.post([this, alive = alive_, open, done, body = std::move(body)] {
    if (!*alive) return done(unavailable("the server is shutting down"));
    if (!open && !frontend_.backend()) {
      return done(unavailable(std::string("the server is not ready: ") + frontend_.health_word()));
    }
    body(done);
  });
  return reactor;
}

grpc::ServerUnaryReactor* InferenceService::Abort(grpc::CallbackServerContext* context, const v1::AbortRequest* request,
                                                  v1::AbortResponse* response) {
  return unary(context, "Abort", false, [this, request, response](const auto& done) {
    const auto found = running_.find(request->request_id());
    const bool runs = found != running_.end() && found->second.call->open();
    response->set_found(runs);
    if (runs) {
      const Running running = found->second;
      running_.erase(found);
      if (const auto generation = running.generation.lock()) {
        generation->fail(Status(Code::kCancelled, "the request was aborted"));
      } else {
        running.call->finish(grpc::Status(grpc::StatusCode::CANCELLED, "the request was aborted"));
      }
    }
    done(Status());
  });
}

grpc::ServerUnaryReactor* InferenceService::Tokenize(grpc::CallbackServerContext* context,
                                                     const v1::TokenizeRequest* request,
                                                     v1::TokenizeResponse* response) {
  return unary(context, "Tokenize", false, [this, request, response](const auto& done) {
    const auto work = [request, response](const ApiContext& api) -> Status {
      ASSIGN_OR_RETURN(const std::vector<Token> tokens, read_tokenize_request(*request, api));
      response->mutable_token_ids()->Add(tokens.begin(), tokens.end());
      response->set_max_model_len(api.limits.max_model_len);
      return {};
    };
    frontend_.run(work, done);
  });
}

grpc::ServerUnaryReactor* InferenceService::Detokenize(grpc::CallbackServerContext* context,
                                                       const v1::DetokenizeRequest* request,
                                                       v1::DetokenizeResponse* response) {
  return unary(context, "Detokenize", false, [this, request, response](const auto& done) {
    const auto work = [request, response](const ApiContext& api) -> Status {
      for (const std::int32_t id : request->token_ids()) {
        if (id < 0 || id >= api.limits.vocab_size) {
          return invalid_argument("token_ids must hold ids between 0 and " + std::to_string(api.limits.vocab_size - 1),
                                  "token_ids");
        }
      }
      const std::vector<Token> tokens(request->token_ids().begin(), request->token_ids().end());
      response->set_text(wire_text(api.tokenizer->decode(tokens, false)));
      return {};
    };
    frontend_.run(work, done);
  });
}

grpc::ServerUnaryReactor* InferenceService::HealthCheck(grpc::CallbackServerContext* context,
                                                        const v1::HealthCheckRequest*,
                                                        v1::HealthCheckResponse* response) {
  return unary(context, "HealthCheck", true, [this, response](const auto& done) {
    response->set_healthy(frontend_.accepts());
    response->set_status(frontend_.health_word());
    done(Status());
  });
}

grpc::ServerUnaryReactor* InferenceService::GetModelInfo(grpc::CallbackServerContext* context,
                                                         const v1::GetModelInfoRequest*,
                                                         v1::GetModelInfoResponse* response) {
  return unary(context, "GetModelInfo", false, [this, response](const auto& done) {
    const ServedModel& served = *frontend_.backend();
    const ModelInfo& model = served.engine->model();
    const auto& names = served.context.model_names;
    response->set_model(names[0]);
    for (const std::string& name : names) response->add_model_names(name);
    response->set_model_path(served.model_root);
    response->set_architecture(model.architecture);
    response->set_parameters(model.parameters);
    response->set_active_parameters(model.active_parameters);
    response->set_vocab_size(model.vocab_size);
    response->set_max_model_len(model.max_model_len);
    response->mutable_eos_token_ids()->Add(model.eos_token_ids.begin(), model.eos_token_ids.end());
    response->set_has_chat_template(served.chat_template != nullptr);
    done(Status());
  });
}

grpc::ServerUnaryReactor* InferenceService::GetServerInfo(grpc::CallbackServerContext* context,
                                                          const v1::GetServerInfoRequest*,
                                                          v1::GetServerInfoResponse* response) {
  return unary(context, "GetServerInfo", false, [this, response](const auto& done) {
    response->set_version(options_.version);
    response->set_status(frontend_.health_word());
    response->set_uptime_seconds(seconds_between(started_, loop_.clock().now()));
    for (const auto& [key, value] : frontend_.backend()->facts) (*response->mutable_facts())[key] = value;
    done(Status());
  });
}

grpc::ServerUnaryReactor* InferenceService::GetLoads(grpc::CallbackServerContext* context, const v1::GetLoadsRequest*,
                                                     v1::GetLoadsResponse* response) {
  return unary(context, "GetLoads", false, [this, response](const auto& done) {
    const EngineStats stats = frontend_.backend()->engine->stats();
    response->set_running(stats.running);
    response->set_waiting(stats.waiting);
    response->set_paused(stats.paused);
    response->set_kv_blocks_total(stats.kv_blocks_total);
    response->set_kv_blocks_used(stats.kv_blocks_used);
    response->set_prompt_tokens_total(stats.prompt_tokens);
    response->set_generation_tokens_total(stats.generated_tokens);
    response->set_preemptions_total(stats.preemptions);
    done(Status());
  });
}

}  // namespace foregate
