// A Status as gRPC gives it. Inner part of server/grpc.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/status.h>

#include "engine/base/status.h"

namespace foregate {

inline constexpr const char* kFieldMetadata = "foregate-field";
// gRFC A6: how long a client waits before it tries again.
inline constexpr const char* kPushbackMetadata = "grpc-retry-pushback-ms";

grpc::StatusCode grpc_code(Code code);
const char* grpc_code_name(grpc::StatusCode code);  // INVALID_ARGUMENT and so on

// Also puts the field and the wait before a retry into the trailing metadata of `context`.
grpc::Status grpc_status(const Status& status, grpc::ServerContextBase& context);

}  // namespace foregate
