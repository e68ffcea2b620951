#include "engine/io/gguf_cursor.h"

#include <algorithm>
#include <cstring>

namespace foregate {
namespace {

constexpr std::uint64_t kBufferBytes = 1u << 20;

}  // namespace

GgufCursor::GgufCursor(const File& file, std::uint64_t limit) : file_(file), limit_(std::min(limit, file.size())) {}

Status GgufCursor::past_end(const char* what, std::uint64_t wanted) const {
  const bool capped = limit_ < file_.size();
  return data_loss(file_.path() + ": " + what + " at byte " + std::to_string(position_) + " needs " +
                   std::to_string(wanted) + " bytes but " + std::to_string(left()) +
                   (capped ? " are left of the " + std::to_string(limit_) + " that a header may have" : " are left"));
}

Status GgufCursor::bytes(const char* what, std::span<std::byte> out) {
  if (out.size() > left()) return past_end(what, out.size());
  std::size_t done = 0;
  while (done < out.size()) {
    const std::uint64_t inside = position_ - buffer_begin_;
    if (inside >= buffer_.size()) {
      buffer_.resize(static_cast<std::size_t>(std::min(kBufferBytes, left())));
      buffer_begin_ = position_;
      RETURN_IF_ERROR(file_.read(position_, buffer_));
      continue;
    }
    const std::size_t step = std::min<std::size_t>(out.size() - done, buffer_.size() - inside);
    std::memcpy(out.data() + done, buffer_.data() + inside, step);
    done += step;
    position_ += step;
  }
  return {};
}

Result<std::string> GgufCursor::text(const char* what, std::uint64_t longest) {
  ASSIGN_OR_RETURN(const std::uint64_t length, number<std::uint64_t>(what));
  if (length > left()) return past_end(what, length);
  if (length > longest) {
    return data_loss(file_.path() + ": " + what + " at byte " + std::to_string(position_) + " has " +
                     std::to_string(length) + " bytes, more than " + std::to_string(longest));
  }
  std::string out(static_cast<std::size_t>(length), '\0');
  RETURN_IF_ERROR(bytes(what, std::as_writable_bytes(std::span(out))));
  return out;
}

}  // namespace foregate
