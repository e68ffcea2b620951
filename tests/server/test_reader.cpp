// How the network cuts a request changes nothing of it, before its first line neither.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

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

}  // namespace
}  // namespace foregate
