#include "server/http/errors.h"

#include "server/anthropic/messages_reply.h"
#include "server/openai/api_error.h"
#include "server/ops/retry_after.h"

namespace foregate {

HttpResponse error_response(int status, const std::string& message, const std::string& param) {
  HttpResponse response;
  response.status = status;
  response.body = error_body(status, message, param);
  if (status == 503) response.headers.emplace_back("retry-after", retry_after_seconds());
  if (status == 401) response.headers.emplace_back("www-authenticate", "Bearer");
  return response;
}

HttpResponse error_response(const Status& status) {
  const ApiError error = api_error(status);
  HttpResponse response;
  response.status = error.status;
  response.body = error.body;
  if (error.retry_later) response.headers.emplace_back("retry-after", retry_after_seconds());
  return response;
}

HttpResponse error_response(Endpoint endpoint, const Status& status) {
  HttpResponse response = error_response(status);
  const bool messages = endpoint == Endpoint::kMessages || endpoint == Endpoint::kCountTokens;
  if (messages) response.body = messages_error(status);
  return response;
}

}  // namespace foregate
