// Reads a GGUF header front to back through one buffer. Every read is checked against what is left of the file first;
// after the first fault reads give nothing. One owner, one thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/io/file.h"

namespace foregate {

class GgufCursor {
 public:
  // Reads no further than `limit` bytes into the file.
  GgufCursor(const File& file, std::uint64_t limit);

  // `what` names the thing in errors: "key 3", "the count of ...".
  template <class T>
  Result<T> number(const char* what) {
    T value{};
    RETURN_IF_ERROR(bytes(what, std::as_writable_bytes(std::span(&value, 1))));
    return value;
  }
  // A length and that many bytes, at most `longest`.
  Result<std::string> text(const char* what, std::uint64_t longest);
  Status bytes(const char* what, std::span<std::byte> out);

  std::uint64_t position() const { return position_; }
  std::uint64_t left() const { return limit_ - position_; }
  Status past_end(const char* what, std::uint64_t wanted) const;

 private:
  const File& file_;
  std::uint64_t limit_;
  std::uint64_t position_ = 0;
  std::uint64_t buffer_begin_ = 0;  // file offset of buffer_[0]
  std::vector<std::byte> buffer_;
};

}  // namespace foregate
