#include "server/openai/api_error.h"

#include <nlohmann/json.hpp>

#include "engine/api/client_share.h"
#include "server/openai/fields.h"

namespace foregate {
namespace {

struct Kind {
  int status;
  const char* type;
  const char* code;
};

constexpr Kind kKinds[] = {
    {400, "invalid_request_error", "invalid_value"},
    {401, "invalid_request_error", "invalid_api_key"},
    {403, "invalid_request_error", "permission_denied"},
    {404, "invalid_request_error", "not_found"},
    {405, "invalid_request_error", "method_not_allowed"},
    {408, "invalid_request_error", "request_timeout"},
    {411, "invalid_request_error", "length_required"},
    {413, "invalid_request_error", "body_too_large"},
    {415, "invalid_request_error", "unsupported_media_type"},
    {409, "invalid_request_error", "conflict"},
    {417, "invalid_request_error", "expectation_failed"},
    {429, "rate_limit_error", "rate_limit_exceeded"},
    {431, "invalid_request_error", "headers_too_large"},
    {499, "request_cancelled", "cancelled"},
    {501, "invalid_request_error", "not_implemented"},
    {503, "service_unavailable_error", "unavailable"},
    {504, "timeout_error", "deadline_exceeded"},
    {505, "invalid_request_error", "http_version_not_supported"},
};

std::string render(int status, const std::string& message, const std::string& param, const char* code) {
  Kind kind{status, "server_error", "internal_error"};
  for (const Kind& known : kKinds) {
    if (known.status == status) kind = known;
  }
  Json error = Json::object();
  error["message"] = message;
  error["type"] = kind.type;
  error["param"] = param.empty() ? Json() : Json(param);
  error["code"] = code != nullptr ? code : kind.code;
  Json body = Json::object();
  body["error"] = std::move(error);
  return body.dump(-1, ' ', false, Json::error_handler_t::replace);
}

int http_status(Code code) {
  switch (code) {
    case Code::kInvalidArgument:
    case Code::kUnimplemented: return 400;
    case Code::kNotFound: return 404;
    case Code::kResourceExhausted:
    case Code::kUnavailable: return 503;
    case Code::kCancelled: return 499;
    case Code::kDeadlineExceeded: return 504;
    default: return 500;
  }
}

}  // namespace

ApiError api_error(const Status& status) {
  ApiError error;
  const bool exhausted = status.code() == Code::kResourceExhausted;
  const bool over_share = exhausted && status.field() == kClientShareField;
  const bool over_rate = exhausted && status.field() == kClientRateField;
  error.status = over_share || over_rate ? 429 : http_status(status.code());
  error.retry_later = error.status == 503 || error.status == 429;
  const char* code = nullptr;
  if (status.code() == Code::kUnimplemented) code = "unsupported_value";
  if (status.code() == Code::kNotFound && status.field() == "model") code = "model_not_found";
  if (exhausted && !over_rate) code = over_share ? "client_over_share" : "server_full";
  error.body = render(error.status, status.message(), over_share || over_rate ? "" : status.field(), code);
  return error;
}

std::string error_body(int http_status, const std::string& message, const std::string& param) {
  return render(http_status, message, param, nullptr);
}

}  // namespace foregate
