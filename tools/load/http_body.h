// The answer of an HTTP server, taken apart as its bytes come: status, then the body, chunked or not. Pure.
#pragma once

#include <cstdint>
#include <string>

#include "engine/base/status.h"

namespace foregate {

class HttpBody {
 public:
  // Takes bytes off the socket; what it adds to body() may be taken from there. kUnavailable when it is not HTTP.
  Status take(std::string_view bytes);
  int status() const { return status_; }  // 0: the header has not come yet
  std::string& body() { return body_; }
  bool complete() const { return complete_; }  // by its own length; else it ends with the connection

 private:
  Status take_header();
  Status take_chunks();
  std::string left_;  // not understood yet
  std::string body_;
  int status_ = 0;
  bool chunked_ = false;
  bool complete_ = false;
  std::int64_t length_ = -1;  // still to come; below 0: not said
};

}  // namespace foregate
