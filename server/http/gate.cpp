#include "server/http/gate.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "server/http/errors.h"
#include "server/openai/request_id.h"

namespace foregate {
namespace {

using Refusal = std::unique_ptr<HttpResponse>;

Refusal refuse(HttpResponse response) {
  return std::make_unique<HttpResponse>(std::move(response));
}

// The key that a request brings, as `authorization` has it; clients of the Messages API send it in a header of its own.
std::string credentials(const HttpRequest& request) {
  const std::string given(request.header("authorization"));
  const std::string_view key = request.header("x-api-key");
  return given.empty() && !key.empty() ? "Bearer " + std::string(key) : given;
}

bool generates(Endpoint endpoint) {
  return endpoint == Endpoint::kChat || endpoint == Endpoint::kCompletion || endpoint == Endpoint::kResponses ||
         endpoint == Endpoint::kMessages;
}

std::string media_type(std::string_view content_type) {
  std::string type(content_type.substr(0, content_type.find(';')));
  while (!type.empty() && type.back() == ' ') type.pop_back();
  for (char& c : type) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return type;
}

// A body must be announced as JSON, or not announced at all.
bool is_json_type(std::string_view content_type) {
  const std::string type = media_type(content_type);
  return type.empty() || type == "application/json" || (type.size() > 5 && type.substr(type.size() - 5) == "+json");
}

Refusal check_body(const HttpRequest& head, Body body) {
  const bool sized = !head.header("content-length").empty() || !head.header("transfer-encoding").empty();
  if (body == Body::kNone) return nullptr;
  if (!sized) return refuse(error_response(411, "the request has no body and no Content-Length"));
  const std::string_view type = head.header("content-type");
  if (body == Body::kJson && !is_json_type(type)) {
    return refuse(error_response(415, "the body must be application/json"));
  }
  if (body == Body::kForm && media_type(type) != "multipart/form-data") {
    return refuse(error_response(415, "the body must be multipart/form-data"));
  }
  return nullptr;
}

}  // namespace

Status check_origin(const std::string& origin) {
  if (origin == "*") return {};
  const std::size_t scheme = origin.find("://");
  const bool plain = std::all_of(origin.begin(), origin.end(), [](unsigned char c) { return c > 0x20 && c < 0x7f; });
  const std::size_t host = scheme == std::string::npos ? origin.size() : scheme + 3;
  if (plain && scheme != 0 && host < origin.size() && origin.find_first_of("/,*", host) == std::string::npos) return {};
  return invalid_argument("--allowed-origins: \"" + origin.substr(0, 100) + "\" is not * and not scheme://host[:port]",
                          "--allowed-origins");
}

Gate::Gate(Frontend& frontend, GateOptions options)
    : frontend_(frontend), options_(std::move(options)), auth_(options_.api_keys, options_.admin_key) {}

Refusal Gate::check(HttpRequest& head) {
  const RouteMatch match = match_route(head.method, head.path);
  if (match.route == nullptr) return no_route(head, match);
  const Route& route = *match.route;
  head.route = std::string(route.path);
  if (Refusal no_key = check_key(head, route)) return no_key;
  const std::uint64_t client = client_of(head);
  if (route.body == Body::kForm) head.body_limit = options_.max_file_bytes;
  if (Refusal too_much = enter(head, route, client)) return too_much;
  if (Refusal bad_body = check_body(head, route.body)) return bad_body;
  if (route.needs_model && !frontend_.accepts()) {
    return refuse(error_response(503, std::string("the server is not ready: ") + frontend_.health_word()));
  }
  if (!generates(route.endpoint)) return nullptr;
  const Status room = frontend_.check_room(client);
  return room.ok() ? nullptr : refuse(error_response(route.endpoint, room));
}

Refusal Gate::no_route(const HttpRequest& head, const RouteMatch& match) const {
  if (match.allow.empty()) return refuse(error_response(404, "there is no such path"));
  HttpResponse response;
  response.status = 204;
  response.content_type.clear();
  if (head.method != "OPTIONS") response = error_response(405, "this path does not take this method");
  response.headers.emplace_back("allow", match.allow);
  const std::string_view wanted = head.header("access-control-request-headers");
  if (head.method == "OPTIONS" && allows_origin(head.header("origin"))) {
    response.headers.emplace_back("access-control-allow-methods", match.allow);
    if (!wanted.empty()) response.headers.emplace_back("access-control-allow-headers", std::string(wanted));
    response.headers.emplace_back("access-control-max-age", "600");
  }
  return refuse(std::move(response));
}

Refusal Gate::check_key(const HttpRequest& head, const Route& route) const {
  if (route.access == Access::kPublic || head.client) return nullptr;
  const std::string given = credentials(head);
  const bool admin = route.access == Access::kAdmin;
  if (admin ? auth_.allows_admin(given) : auth_.allows(given)) return nullptr;
  const char* wanted = admin && auth_.has_admin() ? "the admin key is needed: Authorization: Bearer KEY"
                                                  : "a valid API key is needed: Authorization: Bearer KEY";
  return refuse(error_response(401, wanted));
}

// Looking costs little; the admin is not counted, and what the server asks itself neither.
Refusal Gate::enter(HttpRequest& head, const Route& route, std::uint64_t client) const {
  const bool counted = options_.clients != nullptr && route.access == Access::kKeyed && route.method != "GET";
  if (!counted || head.client || auth_.is_admin(credentials(head))) return nullptr;
  ClientGate::Entry entry = options_.clients->enter(client);
  head.held = std::move(entry.held);
  if (entry.refused.ok()) return nullptr;
  HttpResponse response = error_response(route.endpoint, entry.refused);
  for (auto& [name, value] : response.headers) {
    if (name == "retry-after") value = std::to_string(entry.retry_seconds);
  }
  return refuse(std::move(response));
}

std::uint64_t Gate::client_of(const HttpRequest& request) const {
  if (request.client) return *request.client;
  return auth_.needed() || auth_.has_admin() ? auth_.which(credentials(request)) : 0;
}

bool Gate::allows_origin(std::string_view origin) const {
  return !origin.empty() && std::any_of(options_.allowed_origins.begin(), options_.allowed_origins.end(),
                                        [&](const std::string& one) { return one == "*" || one == origin; });
}

Headers Gate::headers_of(const HttpRequest& request) const {
  Headers headers;
  const std::string_view id = request.header("x-request-id");
  if (!id.empty() && check_request_id(id, "x-request-id").ok()) headers.emplace_back("x-request-id", std::string(id));
  if (options_.allowed_origins.empty()) return headers;
  headers.emplace_back("vary", "origin");
  const std::string_view origin = request.header("origin");
  if (!allows_origin(origin)) return headers;
  const bool any = options_.allowed_origins == std::vector<std::string>{"*"};
  headers.emplace_back("access-control-allow-origin", any ? "*" : std::string(origin));
  headers.emplace_back("access-control-expose-headers", "x-request-id, retry-after");
  return headers;
}

}  // namespace foregate
