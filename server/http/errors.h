// Answers of the HTTP API that are errors. Pure.
#pragma once

#include <memory>
#include <string>

#include "engine/base/status.h"
#include "server/http/message.h"
#include "server/http/router.h"

namespace foregate {

HttpResponse error_response(int status, const std::string& message, const std::string& param = {});
HttpResponse error_response(const Status& status);
// The same in the shape that the API of the endpoint gives errors.
HttpResponse error_response(Endpoint endpoint, const Status& status);

}  // namespace foregate
