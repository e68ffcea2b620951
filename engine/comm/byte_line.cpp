#include "engine/comm/byte_line.h"

namespace foregate {

Status ByteLine::send(MessageKind kind, std::uint64_t epoch, std::span<const std::byte> body, TimeNs deadline) {
  std::byte header[kMessageHeaderBytes];
  write_header({kind, epoch, body.size()}, header);
  return closing_on_error(*this, write_both(header, body, deadline));
}

Result<Message> ByteLine::receive(const MessageBounds& bounds, TimeNs deadline) {
  Message message;
  RETURN_IF_ERROR(closing_on_error(*this, read_message(bounds, deadline, message)));
  return message;
}

// The header is copied before it is judged: where memory is shared, the other end can write to it at any time.
Status ByteLine::read_message(const MessageBounds& bounds, TimeNs deadline, Message& message) {
  std::byte bytes[kMessageHeaderBytes];
  RETURN_IF_ERROR(read_all(bytes, deadline));
  ASSIGN_OR_RETURN(const MessageHeader header, read_header(bytes, bounds));
  message.kind = header.kind;
  message.epoch = header.epoch;
  message.body.resize(header.body_bytes);
  return read_all(message.body, deadline);
}

}  // namespace foregate
