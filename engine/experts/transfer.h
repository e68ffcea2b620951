// Moves experts from disk to memory beside the engine thread: splits loads into chunks, keeps as many reads in flight
// as the queue is deep, serves demands before hints, and reads a damaged or failed expert once more. The thread that
// submits gives the queue its first reads itself, since waking another one takes as long as reading 200 KB; a thread of
// its own waits for their ends, gives it the others and takes checksums of the chunks as they land. Reads are few at a
// time: a disk that is given many ends them all late, and nothing is checked or computed meanwhile; streams, of which
// enough is there to compute, fill the queue.
#pragma once

#include <array>
#include <chrono>
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
  std::size_t depth = 0;                                   // reads in flight, but for streams; 0: the queue's
  bool verify = true;                                      // compare checksums
  std::function<Status(ExpertKey, std::byte*)> fill = {};  // for extents without a file
};

// Who is told the end of a load. Their tags differ: those of dense weights begin at kDenseTag.
enum class LoadOwner : std::uint8_t { kExperts, kDense };
inline constexpr std::size_t kLoadOwners = 2;
inline constexpr std::uint64_t kDenseTag = std::uint64_t{1} << 40;

struct LoadJob {
  const ExpertExtent* extent = nullptr;
  ExpertKey key;            // expert -1: the dense weights of the layer
  std::byte* to = nullptr;  // extent->bytes, at a multiple of kDirectPage
  std::uint64_t tag = 0;    // comes back with the end
  bool hint = false;
  bool certain = false;  // a hint that is sure to be needed: as deep in the queue as demands while none is in flight
  bool stream = false;   // of many that all are needed, so that all together should end early: as deep as the queue
  LoadOwner owner() const { return tag >= kDenseTag ? LoadOwner::kDense : LoadOwner::kExperts; }
};

struct LoadEnd {
  std::uint64_t tag = 0;
  Status status;  // names file and expert
};

struct TransferStats {
  std::uint64_t loads = 0;  // of the owner, ended well
  std::uint64_t bytes = 0;  // of them
  std::uint64_t retries = 0;
  std::uint64_t failures = 0;
  std::uint64_t all_bytes = 0;  // of the loads of all owners
  double busy_seconds = 0.0;    // with a read of any owner in flight, or making an expert that has no file
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
  // Appends the owner's ends to `ends`; with `wait`, waits until there is one (there must be a load that has not
  // ended).
  void collect(LoadOwner owner, std::vector<LoadEnd>& ends, bool wait);
  TransferStats stats(LoadOwner owner = LoadOwner::kExperts) const;
  std::string_view queue_name() const { return queue_->name(); }

 private:
  using Clock = std::chrono::steady_clock;
  struct Load;
  void run();
  void take(const LoadJob& job);
  void fill_queue();
  std::deque<std::size_t>& place_of(const LoadJob& job);
  std::deque<std::size_t>* next_place();
  bool has_room();
  bool next_read();
  bool make_next(std::unique_lock<std::mutex>& lock);
  void chunk_ended(const ReadEnd& end);
  void check_next(std::unique_lock<std::mutex>& lock);
  void all_read(std::size_t slot);
  void finish(std::size_t slot, Status status);
  void end(const LoadJob& job, Status status);
  Status compare(Load& load) const;
  std::uint64_t chunk_size(const Load& load, std::uint64_t begin) const;
  void note_busy();

  const TransferOptions options_;
  std::unique_ptr<ReadQueue> queue_;  // submitted to with mutex_ held; only the transfer thread waits

  mutable std::mutex mutex_;  // of all below
  std::condition_variable work_;
  std::condition_variable ended_;
  std::array<std::vector<LoadEnd>, kLoadOwners> ends_;
  std::array<TransferStats, kLoadOwners> stats_;  // but for what all owners share
  double busy_seconds_ = 0.0;
  bool stop_ = false;
  std::deque<Load> loads_;  // in places that stay
  std::vector<std::size_t> free_loads_;
  std::deque<std::size_t> demands_;  // loads with chunks to submit
  std::deque<std::size_t> certain_;
  std::deque<std::size_t> hints_;
  std::size_t hint_chunks_ = 0;        // in flight
  std::deque<std::size_t> unchecked_;  // loads with chunks that landed and are next in their checksum
  std::vector<ReadOp> ops_;
  bool busy_ = false;
  Clock::time_point busy_since_{};

  std::vector<ReadEnd> read_ends_;  // of the transfer thread
  std::thread thread_;              // last: it uses all above
};

}  // namespace foregate
