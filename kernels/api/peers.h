// Blocks of device memory that processes with a device each send to one another, in groups. Nothing blocks for good: a
// group is begun and asked for, every other wait has a limit, and after a failure or abort() the peers can only be
// destroyed. No CUDA types. One calling thread.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace foregate {

class Stream;

// Names a set of peers: made by one, brought to the others by whatever connects them already.
using PeerId = std::array<std::byte, 128>;

struct PeerBlock {
  std::int32_t peer = 0;  // may be this one
  bool sends = false;     // else it is received
  void* data = nullptr;   // of the device
  std::size_t bytes = 0;  // the same at both ends
};

class Peers {
 public:
  enum class State { kRunning, kDone, kFailed };
  virtual ~Peers() = default;
  virtual std::int32_t rank() const = 0;
  virtual std::int32_t size() const = 0;
  // What the next group sends is made by what `stream` was given so far, and read after that is done.
  virtual void after(Stream& stream) = 0;
  // Begins all blocks together; between two peers those of one direction arrive in the order in which they are given.
  // Their memory stays until the group is done. One group at a time. False: failed.
  virtual bool begin(std::span<const PeerBlock> blocks) = 0;
  virtual State state() = 0;  // of the group
  // Ends what is under way, whatever the other peers do. Theirs fail or pass their own limits.
  virtual void abort() = 0;
  virtual const std::string& failure() const = 0;  // empty: none
};

struct PeersOptions {
  std::string library;  // of NCCL; empty: libnccl.so.2 where the system has it
  int ordinal = 0;      // of this process's device
  std::int32_t rank = 0;
  std::int32_t size = 1;
  PeerId id = {};
  double limit_seconds = 30.0;  // until all have joined
  // Set by another thread: nobody waits for the peers any more. Null: never.
  const std::atomic<bool>* cancelled = nullptr;
};

}  // namespace foregate
