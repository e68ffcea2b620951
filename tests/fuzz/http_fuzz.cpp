#include <algorithm>
#include <string>

#include "kernels/api/check.h"
#include "server/http/request_reader.h"
#include "tests/fuzz/fuzz_target.h"

namespace foregate {
namespace {

struct Reading {
  RequestReader::State state = RequestReader::State::kHeader;
  std::size_t taken = 0;
  int status = 0;
  HttpRequest request;
};

// The bytes as they come: `piece` more at a time, and what was not taken is offered again.
Reading read(std::string_view bytes, std::size_t piece) {
  RequestReader reader({.header_bytes = 2048, .body_bytes = 4096});
  Reading reading;
  std::size_t end = 0;
  while (reader.state() != RequestReader::State::kDone && reader.state() != RequestReader::State::kFailed) {
    if (end == bytes.size()) break;
    end = std::min(bytes.size(), end + piece);
    while (reader.state() != RequestReader::State::kDone && reader.state() != RequestReader::State::kFailed) {
      const std::size_t taken = reader.feed(bytes.substr(reading.taken, end - reading.taken));
      CHECK(taken <= end - reading.taken);
      reading.taken += taken;
      if (taken == 0 || reading.taken == end) break;
    }
    CHECK(reader.state() == RequestReader::State::kHeader || reader.body_charge() <= 4096 ||
          reader.state() == RequestReader::State::kFailed);
  }
  reading.state = reader.state();
  if (reading.state == RequestReader::State::kFailed) {
    reading.status = reader.error_status();
    CHECK(reading.status >= 400 && reading.status < 600 && !reader.error().empty());
  }
  if (reading.state == RequestReader::State::kDone) reading.request = reader.take();
  return reading;
}

}  // namespace
}  // namespace foregate

int fuzz_http(std::string_view bytes) {
  using namespace foregate;
  if (bytes.empty()) return 0;
  const std::size_t piece = 1 + static_cast<unsigned char>(bytes[0]) % 64;
  const std::string_view sent = bytes.substr(1);
  const Reading whole = read(sent, std::max<std::size_t>(1, sent.size()));
  const Reading cut = read(sent, piece);
  // How the network cuts a request changes nothing of it.
  CHECK(whole.state == cut.state);
  if (whole.state == RequestReader::State::kDone) {
    CHECK(whole.taken == cut.taken && whole.request.method == cut.request.method &&
          whole.request.path == cut.request.path && whole.request.query == cut.request.query &&
          whole.request.headers == cut.request.headers && whole.request.body == cut.request.body &&
          whole.request.keep_alive == cut.request.keep_alive);
    CHECK(whole.request.body.size() <= 4096);
    return 2;
  }
  return whole.state == RequestReader::State::kBody ? 1 : 0;
}
