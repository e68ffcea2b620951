// Incremental, strict HTTP/1 request parser. Boost.Beast does the parsing and stays in the .cpp; what
// it lets pass but a proxy may read differently (bare LF, folded lines, two lengths) is refused here.
// One object reads one request; bytes that follow it stay unconsumed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "server/http/message.h"

namespace foregate {

struct ReaderLimits {
  std::size_t header_bytes = 16384;
  std::uint64_t body_bytes = 4u << 20;
};

class RequestReader {
 public:
  enum class State { kHeader, kBody, kDone, kFailed };

  explicit RequestReader(const ReaderLimits& limits);
  ~RequestReader();
  // Takes from the front of `bytes` and returns how many; what is left must be offered again with
  // more behind it.
  std::size_t feed(std::string_view bytes);
  State state() const;
  bool expects_continue() const;      // after the header: the client waits for "100 Continue"
  const HttpRequest& head() const;    // after the header: everything but the body
  std::uint64_t body_charge() const;  // bytes of body held or announced by Content-Length
  int error_status() const;           // of kFailed: the HTTP status to answer
  const std::string& error() const;   // of kFailed: fixed text, holds no bytes of the client
  HttpRequest take();                 // of kDone

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace foregate
