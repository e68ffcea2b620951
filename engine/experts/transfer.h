// Moves experts from disk to memory beside the engine thread: a thread of its own that splits loads into chunks, keeps
// as many reads in flight as the queue is deep, serves demands before hints, checks each expert's checksum and reads a
// damaged or failed one once more. The engine thread submits and collects; both are safe against the transfer thread.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "engine/base/status.h"
#include "engine/experts/expert_table.h"
#include "engine/io/read_queue.h"

namespace foregate {

struct TransferOptions {
  std::uint64_t chunk_bytes = std::uint64_t{1} << 20;
  bool verify = true;                                      // compare checksums
  std::function<Status(ExpertKey, std::byte*)> fill = {};  // for extents without a file
};

struct LoadJob {
  const ExpertExtent* extent = nullptr;
  ExpertKey key;
  std::byte* to = nullptr;  // extent->bytes, at a multiple of kDirectPage
  std::uint64_t tag = 0;    // comes back with the end
  bool hint = false;
};

struct LoadEnd {
  std::uint64_t tag = 0;
  Status status;  // names file and expert
};

struct TransferStats {
  std::uint64_t loads = 0;  // ended well
  std::uint64_t bytes = 0;  // of them
  std::uint64_t retries = 0;
  std::uint64_t failures = 0;
  double busy_seconds = 0.0;  // with a read in flight
};

class Transfer {
 public:
  Transfer(std::unique_ptr<ReadQueue> queue, const TransferOptions& options);
  ~Transfer();  // ends what is in flight, drops what waits

  void submit(std::span<const LoadJob> jobs);
  // A hint that is now needed goes before the others.
  void promote(std::uint64_t tag);
  // A hint of which nothing was asked of the disk yet ends with kCancelled; others go on.
  void cancel(std::uint64_t tag);
  // Appends ends to `ends`; with `wait`, waits until there is one (there must be a load that has not ended).
  void collect(std::vector<LoadEnd>& ends, bool wait);
  TransferStats stats() const;
  std::string_view queue_name() const { return queue_->name(); }

 private:
  struct Load;
  void run();
  void take_new();
  void fill_queue();
  void fill(std::size_t slot);
  void chunk_ended(const ReadEnd& end);
  void all_read(std::size_t slot);
  void finish(std::size_t slot, Status status);
  Status check(const Load& load) const;

  const TransferOptions options_;
  std::unique_ptr<ReadQueue> queue_;  // of the transfer thread

  mutable std::mutex mutex_;  // of all below, up to the marked line
  std::condition_variable work_;
  std::condition_variable ended_;
  std::vector<LoadJob> new_jobs_;
  std::vector<std::uint64_t> promoted_;
  std::vector<std::uint64_t> cancelled_;
  std::vector<LoadEnd> ends_;
  TransferStats stats_;
  bool stop_ = false;

  // Of the transfer thread.
  std::vector<Load> loads_;
  std::vector<std::size_t> free_loads_;
  std::deque<std::size_t> demands_;  // loads with chunks to submit
  std::deque<std::size_t> hints_;
  std::size_t hint_chunks_ = 0;   // in flight
  std::deque<std::size_t> read_;  // loads whose chunks have all ended, to be checked
  std::vector<ReadEnd> read_ends_;
  std::thread thread_;  // last: it uses all above
};

}  // namespace foregate
