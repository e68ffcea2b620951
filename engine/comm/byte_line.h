// A line over anything that carries bytes in order: what is sent is a header and a body, and who receives judges the
// header before a byte of the body is read. And what every line says when it ends.
#pragma once

#include <span>
#include <string>

#include "engine/comm/transport.h"

namespace foregate {

inline Status peer_late() {
  return Status(Code::kDeadlineExceeded, "the other rank does not answer in time");
}
inline Status peer_gone(const std::string& why = {}) {
  return unavailable("the other rank is gone" + (why.empty() ? why : ": " + why));
}
inline Status line_closed() {
  return unavailable("the line is closed");
}
inline Status closing_on_error(RankLine& line, Status status) {
  if (!status.ok()) line.close();
  return status;
}

class ByteLine : public RankLine {
 public:
  Status send(MessageKind kind, std::uint64_t epoch, std::span<const std::byte> body, TimeNs deadline) final;
  Result<Message> receive(const MessageBounds& bounds, TimeNs deadline) final;

 private:
  // All of it by the deadline, or as send() and receive() fail. A short message should be shown whole, so that its
  // reader wakes once.
  virtual Status write_both(std::span<const std::byte> header, std::span<const std::byte> body, TimeNs deadline) = 0;
  virtual Status read_all(std::span<std::byte> bytes, TimeNs deadline) = 0;
  Status read_message(const MessageBounds& bounds, TimeNs deadline, Message& message);
};

}  // namespace foregate
