// How the network cuts a request changes nothing of it, before its first line neither.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "engine/api/limits.h"
#include "server/http/request_reader.h"

namespace foregate {
namespace {

using State = RequestReader::State;

State read(const std::string& bytes, std::size_t piece) {
  RequestReader reader({});
  std::size_t taken = 0;
  for (std::size_t end = 0; end < bytes.size() && reader.state() != State::kDone && reader.state() != State::kFailed;) {
    end = std::min(bytes.size(), end + piece);
    taken += reader.feed(std::string_view(bytes).substr(taken, end - taken));
  }
  return reader.state();
}

TEST(RequestReader, TakesTwoEmptyLinesBeforeARequestHoweverTheyCome) {
  const std::string request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
  for (int lines = 0; lines < 6; ++lines) {
    std::string bytes;
    for (int i = 0; i < lines; ++i) bytes += "\r\n";
    for (const std::size_t piece : {1, 2, 3, 5, 1000}) {
      EXPECT_EQ(read(bytes + request, piece), lines <= 2 ? State::kDone : State::kFailed) << lines << " " << piece;
    }
  }
}

std::string chunked(const std::string& body) {
  return "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + body;
}

TEST(RequestReader, TakesAndRefusesChunksHoweverTheyCome) {
  const std::string rest = "\r\nabcd\r\n00a;q=\"w\"\r\n0123456789\r\n0\r\nt: 1\r\n\r\n";
  struct Case {
    std::string body;
    State state;
  };
  const Case cases[] = {
      {"4;x=y" + rest, State::kDone},
      {"4;x=\"y;z\"" + rest, State::kDone},
      {"4;x=\"y" + rest, State::kFailed},  // a quote that does not end there
      {"4;x=" + std::string(kMaxChunkHeaderBytes - 64, 'y') + rest, State::kDone},
      {"4;x=" + std::string(kMaxChunkHeaderBytes, 'y') + rest, State::kFailed},
      {"4\r\nabcd\r\n0\r\nt: " + std::string(kMaxChunkHeaderBytes, 'y') + "\r\n\r\n", State::kFailed},
  };
  for (const Case& one : cases) {
    for (const std::size_t piece : {1, 2, 3, 64, 100000}) {
      EXPECT_EQ(read(chunked(one.body), piece), one.state) << one.body.substr(0, 12) << " " << piece;
    }
  }
}

}  // namespace
}  // namespace foregate
