// One GET over HTTP or HTTPS within a time: no redirects, no keep-alive, no look at the certificate. Blocks its thread.
#pragma once

#include <string>

#include "engine/base/status.h"

namespace foregate {

struct HttpPlace {
  std::string host = "127.0.0.1";
  std::string port = "8000";
  std::string path = "/";
  bool tls = false;
};

struct HttpReply {
  int status = 0;
  std::string body;
};

// "http://host[:port][/path]" or the same of https, with [v6] addresses. kInvalidArgument names what is wrong.
Result<HttpPlace> parse_http_url(const std::string& url);

// `seconds` bounds the whole exchange; a reply of more than 64 KiB is refused.
Result<HttpReply> http_get(const HttpPlace& place, double seconds);

}  // namespace foregate
