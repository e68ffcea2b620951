// Errors as the OpenAI API shows them: {"error": {message, type, param, code}} and an HTTP status.
#pragma once

#include <string>

#include "engine/base/status.h"

namespace foregate {

struct ApiError {
  int status = 500;
  std::string body;
  bool retry_later = false;  // send Retry-After
};

// How a Status of parsing, submitting or running a request is answered.
ApiError api_error(const Status& status);
// An error of the HTTP layer or the router.
std::string error_body(int http_status, const std::string& message, const std::string& param = {});

}  // namespace foregate
