// What ranks say to one another, and its form on a wire. A message carries the epoch of the exchange it belongs to, so
// that an answer to another question is never taken for this one's. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/base/status.h"

namespace foregate {

enum class MessageKind : std::uint16_t {
  kSetup = 1,    // rank 0 to a new rank: what it is to hold
  kRows = 2,     // rank 0: rows and the experts they go to
  kOutputs = 3,  // the answer to kRows
  kFailed = 4,   // another: there are no outputs, and why
  // Where tokens stay where their experts are (engine/model/row_messages.h), rank 0:
  kContext = 5,    // how large its cache is, before the first row; no answer
  kJoin = 6,       // rows that go on at the rank from the FFN of a layer; no answer
  kLayer = 7,      // what the rank's rows need to go through the next layer
  kLayerDone = 8,  // the answer to kLayer: what the others need of them
  // Where rows go between devices (kernels/api/peers.h):
  kPeers = 9,         // before the first row, in turns (peer_call.h)
  kPeerRows = 10,     // as kRows; the rows themselves follow from device to device
  kPeerOutputs = 11,  // the answer to kPeerRows; the outputs likewise
};

struct Message {
  MessageKind kind = MessageKind::kRows;
  std::uint64_t epoch = 0;
  std::vector<std::byte> body;
};

// magic u32, kind u16, zero u16, epoch u64, bytes of the body u64: little-endian.
inline constexpr std::size_t kMessageHeaderBytes = 24;

struct MessageHeader {
  MessageKind kind = MessageKind::kRows;
  std::uint64_t epoch = 0;
  std::uint64_t body_bytes = 0;
};

// What a receiver takes; anything else is kDataLoss.
struct MessageBounds {
  std::uint64_t least_epoch = 0;
  std::uint64_t most_epoch = ~std::uint64_t{0};
  std::uint64_t most_bytes = 0;  // of the body
};

void write_header(const MessageHeader& header, std::span<std::byte, kMessageHeaderBytes> out);
// Checked before a byte of the body is read or memory for it taken.
Result<MessageHeader> read_header(std::span<const std::byte, kMessageHeaderBytes> in, const MessageBounds& bounds);
Status check_header(const MessageHeader& header, const MessageBounds& bounds);

}  // namespace foregate
