// Sends one streamed request to an OpenAI endpoint and times its pieces. Blocks its thread.
#pragma once

#include <string>

#include "tools/load/load_types.h"

namespace foregate {

struct LoadTarget {
  std::string host = "127.0.0.1";
  std::string port = "8000";
  std::string path = "/v1/completions";
  std::string model;  // empty: not named
  std::string key;    // empty: none
  std::string extra;  // JSON fields of every body: `"temperature": 0`; may be empty
  double timeout_seconds = 600;
};

std::string request_body(const LoadTarget& target, const LoadRequest& request);
LoadOutcome stream_request(const LoadTarget& target, const LoadRequest& request);

}  // namespace foregate
