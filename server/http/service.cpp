#include "server/http/service.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <random>
#include <utility>

#include "engine/base/log.h"
#include "server/anthropic/messages_reply.h"
#include "server/anthropic/messages_request.h"
#include "server/http/block_answer.h"
#include "server/http/errors.h"
#include "server/http/http_answer.h"
#include "server/http/openapi.h"
#include "server/http/slots_json.h"
#include "server/http/stats_json.h"
#include "server/openai/api_error.h"
#include "server/openai/request_id.h"
#include "server/openai/responses_reply.h"
#include "server/ops/deadline.h"
#include "server/ops/trace_parent.h"
#include "server/ui/page.h"

namespace foregate {
namespace {

using Json = nlohmann::ordered_json;

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Result<ApiRequest> parse(Endpoint endpoint, const std::string& body, const ApiContext& context, ResponsesEcho& echo) {
  switch (endpoint) {
    case Endpoint::kCompletion: return parse_completion_request(body, context);
    case Endpoint::kResponses: return parse_responses_request(body, context, echo);
    case Endpoint::kMessages: return parse_messages_request(body, context);
    default: return parse_chat_request(body, context);
  }
}

std::string hex64(std::uint64_t value) {
  static const char* kHex = "0123456789abcdef";
  std::string text(16, '0');
  for (int i = 15; i >= 0; --i, value >>= 4) text[static_cast<std::size_t>(i)] = kHex[value & 15];
  return text;
}

// 0: the client sets none. A header without a value is no number either.
Result<std::int64_t> timeout_of(const HttpRequest& request) {
  const auto named = [](const auto& header) { return header.first == kTimeoutHeader; };
  const auto found = std::find_if(request.headers.begin(), request.headers.end(), named);
  if (found == request.headers.end()) return std::int64_t{0};
  return parse_timeout_ms(found->second);
}

// Ids of one run differ from those of another.
std::string random_prefix() {
  std::random_device entropy;
  return hex64((static_cast<std::uint64_t>(entropy()) << 32) | entropy());
}

}  // namespace

Service::Service(IoLoop& loop, Frontend& frontend, ServiceOptions options, Metrics& metrics)
    : loop_(loop),
      frontend_(frontend),
      options_(std::move(options)),
      metrics_(metrics),
      gate_(frontend, options_),
      grammars_(metrics),
      replies_(metrics),
      id_prefix_(random_prefix()),
      started_(loop.clock().now()) {}

HttpCallbacks Service::callbacks() {
  HttpCallbacks callbacks;
  callbacks.gate = [this](HttpRequest& head) { return gate_.check(head); };
  callbacks.handle = [this](std::shared_ptr<Exchange> exchange) { handle(std::move(exchange)); };
  callbacks.headers = [this](const HttpRequest& request) { return gate_.headers_of(request); };
  callbacks.error_body = [](int status, const std::string& message) { return error_body(status, message); };
  return callbacks;
}

void Service::handle(std::shared_ptr<Exchange> exchange) {
  const HttpRequest& request = exchange->request();
  if (options_.log_requests) {
    log_info(request.method + " " + foregate::quoted(request.path) + " from " + request.peer + ", " +
             std::to_string(request.body.size()) + " bytes");
  } else {
    log_debug(request.method + " " + foregate::quoted(request.path) + " from " + request.peer);
  }
  const RouteMatch match = match_route(request.method, request.path);
  if (match.route == nullptr) return exchange->respond(error_response(404, "there is no such path"));
  switch (match.route->endpoint) {
    case Endpoint::kHealth:
    case Endpoint::kReady: return exchange->respond(health_response());
    case Endpoint::kLive: return exchange->respond(live_response());
    case Endpoint::kMetrics: {
      HttpResponse response;
      response.content_type = "text/plain; version=0.0.4; charset=utf-8";
      const auto& backend = frontend_.backend();
      if (backend && backend->grammars) grammars_.update(backend->grammars->figures());
      response.body = metrics_.prometheus_text();
      return exchange->respond(std::move(response));
    }
    case Endpoint::kOpenapi: return exchange->respond(openapi_response());
    case Endpoint::kVersion: return exchange->respond(version_response());
    case Endpoint::kModels: return exchange->respond(models_response());
    case Endpoint::kModel: return exchange->respond(model_response(match.id));
    case Endpoint::kStats: return exchange->respond(stats_response(*frontend_.backend(), uptime()));
    case Endpoint::kExperts: return experts(std::move(exchange));
    case Endpoint::kSlots: return slots(std::move(exchange));
    case Endpoint::kPage: return exchange->respond(page_response(request.path));
    case Endpoint::kChat:
    case Endpoint::kCompletion:
    case Endpoint::kResponses:
    case Endpoint::kMessages: return generate(std::move(exchange), match.route->endpoint);
    case Endpoint::kCountTokens:
    case Endpoint::kApplyTemplate:
    case Endpoint::kTokenize:
    case Endpoint::kDetokenize: return simple(std::move(exchange), match.route->endpoint);
    default: return files(std::move(exchange), match);
  }
}

// Parse, template and tokenizer on a worker; back on the loop with the result.
void Service::generate(std::shared_ptr<Exchange> exchange, Endpoint endpoint) {
  const auto echo = std::make_shared<ResponsesEcho>();
  const auto parsed = [exchange, endpoint, echo](const ApiContext& context) {
    return parse(endpoint, exchange->request().body, context, *echo);
  };
  const auto answer = [this, exchange, endpoint, echo](
                          std::shared_ptr<const ServedModel> served,
                          std::shared_ptr<const ApiRequest> request) -> std::unique_ptr<Answer> {
    exchange->request().body = {};
    const std::string_view header = exchange->request().header("x-request-id");
    std::string id = response_id(endpoint, header.empty() ? std::string_view(request->request_id) : header);
    const auto& name = served->context.model_names[0];
    const std::int64_t now = loop_.clock().wall_seconds();
    const ToolFormat format = request->reply ? request->reply->tools : ToolFormat::kNone;
    if (endpoint == Endpoint::kResponses) {
      auto writer = responses_writer(std::move(id), name, now, format, *echo);
      return std::make_unique<BlockAnswer>(exchange, std::move(request), std::move(writer), replies_);
    }
    if (endpoint == Endpoint::kMessages) {
      auto writer = messages_writer(std::move(id), name, format);
      return std::make_unique<BlockAnswer>(exchange, std::move(request), std::move(writer), replies_);
    }
    return std::make_unique<HttpAnswer>(exchange, std::move(served), std::move(request), std::move(id), now, &replies_);
  };
  const auto refuse = [exchange, endpoint](const Status& status) {
    exchange->respond(error_response(endpoint, status));
  };
  const Status named = check_request_id(exchange->request().header("x-request-id"), "x-request-id");
  if (!named.ok()) return refuse(named);
  const auto timeout = timeout_of(exchange->request());
  if (!timeout.ok()) return refuse(timeout.status());
  Caller caller;
  const TimeNs now = loop_.clock().now();
  caller.deadline =
      earlier_deadline(now, timeout.value() == 0 ? 0 : now + timeout.value() * 1'000'000, options_.request_timeout);
  caller.client = gate_.client_of(exchange->request());
  caller.trace = parse_traceparent(exchange->request().header("traceparent"));
  frontend_.generate(parsed, answer, refuse, caller);
}

void Service::simple(std::shared_ptr<Exchange> exchange, Endpoint endpoint) {
  auto response = std::make_shared<HttpResponse>();
  const auto work = [exchange, endpoint, response](const ApiContext& context) -> Status {
    const std::string& body = exchange->request().body;
    auto made = endpoint == Endpoint::kTokenize        ? tokenize_body(body, context)
                : endpoint == Endpoint::kDetokenize    ? detokenize_body(body, context)
                : endpoint == Endpoint::kApplyTemplate ? apply_template_body(body, context)
                                                       : count_tokens_body(body, context);
    if (made.ok()) response->body = std::move(made).value();
    return made.status();
  };
  frontend_.run(work, [exchange, endpoint, response](const Status& status) {
    exchange->respond(status.ok() ? std::move(*response) : error_response(endpoint, status));
  });
}

void Service::files(std::shared_ptr<Exchange> exchange, const RouteMatch& match) {
  if (files_ == nullptr) return exchange->respond(error_response(404, "this server keeps no files (--files-dir)"));
  const std::uint64_t client = gate_.client_of(exchange->request());
  files_->handle(std::move(exchange), match, {client, gate_.auth().owner(client)});
}

// The engine thread draws the map, a worker makes it JSON: it has a number for every expert of a large model.
void Service::experts(std::shared_ptr<Exchange> exchange) {
  const auto& served = frontend_.backend();
  if (!served->experts) return exchange->respond(experts_response({}));
  auto write = [this, exchange](const std::shared_ptr<const ExpertMap>& map) {
    if (!frontend_.backend()) return exchange->respond(error_response(503, "the server is shutting down"));
    auto response = std::make_shared<HttpResponse>();
    const auto work = [map, response](const ApiContext&) -> Status {
      *response = experts_response(*map);
      return {};
    };
    frontend_.run(work, [exchange, response](const Status& status) {
      exchange->respond(status.ok() ? std::move(*response) : error_response(status));
    });
  };
  // Moved on, so that the exchange ends on the loop.
  served->experts->ask([&loop = loop_, write = std::move(write)](std::shared_ptr<const ExpertMap> map) mutable {
    loop.post([write = std::move(write), map = std::move(map)] { write(map); });
  });
  served->engine->refresh();
}

// A worker writes: there may be many, and their prompts are long. Without an admin key anybody who may ask at all would
// read what others say.
void Service::slots(std::shared_ptr<Exchange> exchange) {
  if (!options_.slots) return exchange->respond(error_response(404, "this server shows no requests (--no-slots)"));
  const auto query = parse_slots_query(exchange->request().query);
  if (!query.ok()) return exchange->respond(error_response(query.status()));
  if (query.value().prompt && !gate_.auth().has_admin()) {
    return exchange->respond(error_response(403, "prompts are shown by a server with --admin-api-key only", "prompt"));
  }
  auto response = std::make_shared<HttpResponse>();
  const auto work = [response, query = query.value(), open = frontend_.open_generations(),
                     live = frontend_.backend()->engine->live(),
                     now = loop_.clock().now()](const ApiContext& context) -> Status {
    *response = slots_response(open, live, now, query, context);
    return {};
  };
  frontend_.run(work, [exchange, response](const Status& status) {
    exchange->respond(status.ok() ? std::move(*response) : error_response(status));
  });
}

HttpResponse Service::health_response() {
  const std::string word = frontend_.health_word();
  Json body = Json::object();
  body["status"] = word;
  if (!frontend_.health_reason().empty()) body["reason"] = frontend_.health_reason();
  HttpResponse response;
  response.status = word == "ok" ? 200 : 503;
  response.body = dump(body);
  return response;
}

// Not alive: what only a restart mends.
HttpResponse Service::live_response() {
  const std::string word = frontend_.health_word();
  const bool alive = word != "stalled" && word != "failed";
  HttpResponse response;
  response.status = alive ? 200 : 503;
  response.body = dump(Json{{"status", alive ? "alive" : word}});
  return response;
}

HttpResponse Service::openapi_response() const {
  OpenapiFacts facts;
  facts.version = options_.version;
  facts.keys = gate_.auth().needed();
  facts.admin_key = gate_.auth().has_admin();
  facts.files = files_ != nullptr;
  facts.page = options_.page;
  facts.slots = options_.slots;
  if (frontend_.backend()) facts.context = &frontend_.backend()->context;
  HttpResponse response;
  response.body = openapi_text(facts);
  return response;
}

HttpResponse Service::models_response() const {
  Json list = Json::object();
  list["object"] = "list";
  list["data"] = Json::array({Json::parse(model_response(frontend_.backend()->context.model_names[0]).body)});
  HttpResponse response;
  response.body = dump(list);
  return response;
}

HttpResponse Service::model_response(const std::string& id) const {
  const auto& names = frontend_.backend()->context.model_names;
  if (std::find(names.begin(), names.end(), id) == names.end()) {
    return error_response(Status(Code::kNotFound, "this server does not serve that model", "model"));
  }
  Json model = Json::object();
  model["id"] = names[0];
  model["object"] = "model";
  model["created"] = frontend_.backend()->created;
  model["owned_by"] = "foregate";
  model["root"] = frontend_.backend()->model_root;
  model["parent"] = nullptr;
  model["max_model_len"] = frontend_.backend()->context.limits.max_model_len;
  HttpResponse response;
  response.body = dump(model);
  return response;
}

HttpResponse Service::version_response() {
  Json body = Json::object();
  body["version"] = options_.version;
  body["status"] = frontend_.health_word();
  body["uptime_seconds"] = uptime();
  if (frontend_.backend()) {
    for (const auto& [key, value] : frontend_.backend()->facts) body[key] = value;
  }
  HttpResponse response;
  response.body = dump(body);
  return response;
}

double Service::uptime() const {
  return seconds_between(started_, loop_.clock().now());
}

// Nothing of it comes from elsewhere, and no other page may hold it in a frame.
HttpResponse Service::page_response(const std::string& path) const {
  const PageFile* file = options_.page ? page_file(path) : nullptr;
  if (file == nullptr) return error_response(404, "there is no such path");
  HttpResponse response;
  response.content_type = std::string(file->content_type);
  response.headers = {{"content-security-policy",
                       "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
                       "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
                      {"x-content-type-options", "nosniff"},
                      {"referrer-policy", "no-referrer"},
                      {"cache-control", "no-cache"}};
  response.body = std::string(file->body);
  return response;
}

std::string Service::response_id(Endpoint endpoint, std::string_view named) {
  const char* prefix = endpoint == Endpoint::kResponses    ? "resp_"
                       : endpoint == Endpoint::kMessages   ? "msg_"
                       : endpoint == Endpoint::kCompletion ? "cmpl-"
                                                           : "chatcmpl-";
  return named.empty() ? prefix + id_prefix_ + hex64(next_response_++).substr(8) : prefix + std::string(named);
}

}  // namespace foregate
