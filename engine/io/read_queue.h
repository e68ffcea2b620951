// Many reads in flight at a time: the asynchronous half of the disk seam. One thread waits for ends; that one and
// others may submit, one at a time, also while it waits. The memory of a read must stay until its end. Reads end in any
// order.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"
#include "engine/io/file.h"

namespace foregate {

struct ReadOp {
  const File* file = nullptr;
  std::uint64_t offset = 0;
  std::span<std::byte> out;  // filled whole, or the read fails
  std::uint64_t tag = 0;     // comes back with the end
};

struct ReadEnd {
  std::uint64_t tag = 0;
  Status status;  // as File::read() fails
};

class ReadQueue {
 public:
  virtual ~ReadQueue() = default;  // waits for what is in flight
  virtual std::string_view name() const = 0;
  virtual std::size_t depth() const = 0;  // reads that may be in flight
  // At most depth() - in_flight() at a time. Does not wait for the disk.
  virtual void submit(std::span<const ReadOp> ops) = 0;
  // Appends ends to `ends`: waits until there is one, none is in flight, or `limit` is over.
  virtual void wait(std::vector<ReadEnd>& ends, std::chrono::microseconds limit) = 0;
  virtual std::size_t in_flight() const = 0;
};

// io_uring. kUnavailable, with the system's reason, where it is refused (old kernels, containers that forbid it).
Result<std::unique_ptr<ReadQueue>> make_uring_queue(std::size_t depth);
// File::read() on as many threads as reads may be in flight.
std::unique_ptr<ReadQueue> make_thread_queue(std::size_t depth);

// The first that works; `why_not` says why the faster one does not, empty when it does.
std::unique_ptr<ReadQueue> make_read_queue(std::size_t depth, std::string& why_not);

}  // namespace foregate
