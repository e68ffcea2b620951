#include "engine/comm/message.h"

#include <bit>
#include <cstring>
#include <string>

namespace foregate {
namespace {

static_assert(std::endian::native == std::endian::little, "messages are written as they lie in memory");

constexpr std::uint32_t kMagic = 0x4b524746;  // "FGRK"

template <class T>
void put(std::byte* at, T value) {
  std::memcpy(at, &value, sizeof value);
}

template <class T>
T get(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

bool known(std::uint16_t kind) {
  return kind >= static_cast<std::uint16_t>(MessageKind::kSetup) &&
         kind <= static_cast<std::uint16_t>(MessageKind::kPeerOutputs);
}

}  // namespace

void write_header(const MessageHeader& header, std::span<std::byte, kMessageHeaderBytes> out) {
  put(out.data(), kMagic);
  put(out.data() + 4, static_cast<std::uint16_t>(header.kind));
  put(out.data() + 6, std::uint16_t{0});
  put(out.data() + 8, header.epoch);
  put(out.data() + 16, header.body_bytes);
}

Status check_header(const MessageHeader& header, const MessageBounds& bounds) {
  if (header.body_bytes > bounds.most_bytes) {
    return data_loss("a message of " + std::to_string(header.body_bytes) + " bytes, at most " +
                     std::to_string(bounds.most_bytes) + " are taken");
  }
  if (header.epoch < bounds.least_epoch || header.epoch > bounds.most_epoch) {
    return data_loss("a message of epoch " + std::to_string(header.epoch) + " where " +
                     std::to_string(bounds.least_epoch) + " is due");
  }
  return {};
}

Result<MessageHeader> read_header(std::span<const std::byte, kMessageHeaderBytes> in, const MessageBounds& bounds) {
  const auto kind = get<std::uint16_t>(in.data() + 4);
  if (get<std::uint32_t>(in.data()) != kMagic || get<std::uint16_t>(in.data() + 6) != 0 || !known(kind)) {
    return data_loss("what a rank sent is not a message");
  }
  const MessageHeader header{.kind = static_cast<MessageKind>(kind),
                             .epoch = get<std::uint64_t>(in.data() + 8),
                             .body_bytes = get<std::uint64_t>(in.data() + 16)};
  RETURN_IF_ERROR(check_header(header, bounds));
  return header;
}

}  // namespace foregate
