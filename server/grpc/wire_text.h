// Text as strings of the wire: UTF-8, what is not becomes U+FFFD, as in the HTTP API. Inner part of server/grpc.
#pragma once

#include <string>

namespace foregate {

std::string wire_text(const std::string& text);

}  // namespace foregate
