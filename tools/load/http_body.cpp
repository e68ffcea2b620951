#include "tools/load/http_body.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>

namespace foregate {
namespace {

constexpr std::size_t kMostHeader = 64 << 10;
constexpr std::int64_t kMostChunk = 1 << 30;

}  // namespace

Status HttpBody::take(std::string_view bytes) {
  left_ += bytes;
  if (status_ == 0) RETURN_IF_ERROR(take_header());
  if (status_ == 0 || complete_) return {};
  if (chunked_) return take_chunks();
  body_ += left_;
  if (length_ >= 0) {
    length_ -= static_cast<std::int64_t>(left_.size());
    complete_ = length_ <= 0;
  }
  left_.clear();
  return {};
}

Status HttpBody::take_header() {
  const std::size_t end = left_.find("\r\n\r\n");
  if (end == std::string::npos) {
    return left_.size() > kMostHeader ? unavailable("the header of the answer does not end") : Status();
  }
  std::string head = left_.substr(0, end + 2);
  left_.erase(0, end + 4);
  if (head.rfind("HTTP/1.", 0) != 0) return unavailable("the answer is not HTTP");
  status_ = std::atoi(head.c_str() + std::min(head.find(' '), head.size()));
  if (status_ < 100) return unavailable("the answer is not HTTP");
  for (char& c : head) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  chunked_ = head.find("\r\ntransfer-encoding: chunked\r\n") != std::string::npos;
  const std::string name = "\r\ncontent-length:";
  if (const std::size_t at = head.find(name); at != std::string::npos) {
    length_ = std::atoll(head.c_str() + at + name.size());
    complete_ = length_ == 0;
  }
  return {};
}

Status HttpBody::take_chunks() {
  for (;;) {
    const std::size_t line = left_.find("\r\n");
    if (line == std::string::npos) return {};
    const std::int64_t size = std::strtoll(left_.c_str(), nullptr, 16);
    if (size < 0 || size > kMostChunk) return unavailable("a chunk of the answer has no size");
    const std::size_t whole = line + 2 + static_cast<std::size_t>(size) + 2;
    if (left_.size() < whole) return {};
    body_.append(left_, line + 2, static_cast<std::size_t>(size));
    left_.erase(0, whole);
    if (size == 0) {
      complete_ = true;
      return {};
    }
  }
}

}  // namespace foregate
