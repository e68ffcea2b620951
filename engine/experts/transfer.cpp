#include "engine/experts/transfer.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "engine/base/checksum.h"

namespace foregate {
namespace {

// New demands are taken at the next end of a chunk, or after this when the disk is slow.
constexpr auto kLongestWait = std::chrono::milliseconds(2);

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Of chunks of hints: a demand that comes meanwhile waits for so many.
constexpr std::size_t kHintDepth = 2;

std::string expert_text(ExpertKey key) {
  return "expert " + std::to_string(key.expert.value) + " of layer " + std::to_string(key.layer.value);
}

}  // namespace

struct Transfer::Load {
  LoadJob job;
  std::uint64_t submitted = 0;  // bytes
  Status status;
  bool retried = false;
  std::size_t in_flight = 0;    // chunks
  std::size_t hint_chunks = 0;  // of them, submitted as a hint's
};

Transfer::Transfer(std::unique_ptr<ReadQueue> queue, const TransferOptions& options)
    : options_(options), queue_(std::move(queue)), thread_([this] { run(); }) {}

Transfer::~Transfer() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  work_.notify_one();
  thread_.join();
}

void Transfer::submit(std::span<const LoadJob> jobs) {
  {
    std::lock_guard lock(mutex_);
    new_jobs_.insert(new_jobs_.end(), jobs.begin(), jobs.end());
  }
  work_.notify_one();
}

void Transfer::promote(std::uint64_t tag) {
  std::lock_guard lock(mutex_);
  promoted_.push_back(tag);
}

void Transfer::cancel(std::uint64_t tag) {
  std::lock_guard lock(mutex_);
  cancelled_.push_back(tag);
}

void Transfer::collect(std::vector<LoadEnd>& ends, bool wait) {
  std::unique_lock lock(mutex_);
  if (wait) ended_.wait(lock, [this] { return !ends_.empty(); });
  ends.insert(ends.end(), std::make_move_iterator(ends_.begin()), std::make_move_iterator(ends_.end()));
  ends_.clear();
}

TransferStats Transfer::stats() const {
  std::lock_guard lock(mutex_);
  return stats_;
}

void Transfer::run() {
  while (true) {
    {
      std::unique_lock lock(mutex_);
      const bool idle = queue_->in_flight() == 0 && demands_.empty() && hints_.empty() && read_.empty();
      if (idle) work_.wait(lock, [this] { return stop_ || !new_jobs_.empty(); });
      if (stop_) break;
      take_new();
    }
    const auto start = std::chrono::steady_clock::now();
    fill_queue();
    const bool busy = queue_->in_flight() > 0;
    read_ends_.clear();
    queue_->wait(read_ends_, read_.empty() ? kLongestWait : std::chrono::milliseconds(0));
    for (const ReadEnd& end : read_ends_) chunk_ended(end);
    if (!read_.empty()) {  // the disk goes on while a checksum is taken
      {
        std::lock_guard lock(mutex_);
        take_new();
      }
      fill_queue();
      const std::size_t slot = read_.front();
      read_.pop_front();
      all_read(slot);
    }
    if (!busy) continue;
    std::lock_guard lock(mutex_);
    stats_.busy_seconds += seconds_since(start);
  }
  while (queue_->in_flight() > 0) queue_->wait(read_ends_, kLongestWait);
}

// With mutex_ held.
void Transfer::take_new() {
  for (const LoadJob& job : new_jobs_) {
    std::size_t slot = loads_.size();
    if (free_loads_.empty()) {
      loads_.emplace_back();
    } else {
      slot = free_loads_.back();
      free_loads_.pop_back();
    }
    loads_[slot] = Load{.job = job, .status = {}};
    (job.hint ? hints_ : demands_).push_back(slot);
  }
  new_jobs_.clear();
  for (const std::uint64_t tag : promoted_) {
    for (Load& load : loads_) {
      if (load.job.tag == tag) load.job.hint = false;  // even when all of it is in flight: it may be read once more
    }
    const auto at = std::find_if(hints_.begin(), hints_.end(), [&](std::size_t i) { return loads_[i].job.tag == tag; });
    if (at == hints_.end()) continue;
    demands_.push_back(*at);
    hints_.erase(at);
  }
  promoted_.clear();
  for (const std::uint64_t tag : std::exchange(cancelled_, {})) {
    const auto at = std::find_if(hints_.begin(), hints_.end(), [&](std::size_t i) { return loads_[i].job.tag == tag; });
    if (at == hints_.end() || loads_[*at].submitted > 0) continue;
    free_loads_.push_back(*at);
    hints_.erase(at);
    ends_.push_back({tag, Status(Code::kCancelled, "no longer wanted")});
    ended_.notify_one();
  }
}

void Transfer::fill_queue() {
  std::vector<ReadOp> ops;
  while (queue_->in_flight() + ops.size() < queue_->depth()) {
    std::deque<std::size_t>& from = demands_.empty() ? hints_ : demands_;
    if (from.empty() || (demands_.empty() && hint_chunks_ >= kHintDepth)) break;
    const std::size_t slot = from.front();
    Load& load = loads_[slot];
    if (load.job.extent->file == nullptr) {
      from.pop_front();
      fill(slot);
      break;  // others may have come meanwhile
    }
    const std::uint64_t bytes = std::min(options_.chunk_bytes, load.job.extent->bytes - load.submitted);
    ops.push_back({.file = load.job.extent->file,
                   .offset = load.job.extent->offset + load.submitted,
                   .out = {load.job.to + load.submitted, static_cast<std::size_t>(bytes)},
                   .tag = slot});
    load.submitted += bytes;
    ++load.in_flight;
    if (demands_.empty()) {
      ++load.hint_chunks;
      ++hint_chunks_;
    }
    if (load.submitted == load.job.extent->bytes) from.pop_front();
  }
  if (!ops.empty()) queue_->submit(ops);
}

void Transfer::fill(std::size_t slot) {
  const LoadJob job = loads_[slot].job;
  const auto start = std::chrono::steady_clock::now();
  Status status = options_.fill(job.key, job.to);
  if (!status.ok()) {
    status = options_.fill(job.key, job.to);
    std::lock_guard lock(mutex_);
    ++stats_.retries;
  }
  {
    std::lock_guard lock(mutex_);
    stats_.busy_seconds += seconds_since(start);
  }
  finish(slot, std::move(status));
}

// A load ends when all its chunks have: their memory may be given away only then.
void Transfer::chunk_ended(const ReadEnd& end) {
  const auto slot = static_cast<std::size_t>(end.tag);
  Load& load = loads_[slot];
  --load.in_flight;
  if (load.hint_chunks > 0) {
    --load.hint_chunks;
    --hint_chunks_;
  }
  if (!end.status.ok() && load.status.ok()) load.status = end.status;
  if (load.in_flight > 0 || load.submitted < load.job.extent->bytes) return;
  if (load.status.ok() && options_.verify) {
    read_.push_back(slot);
  } else {
    all_read(slot);
  }
}

void Transfer::all_read(std::size_t slot) {
  Load& load = loads_[slot];
  if (load.status.ok() && options_.verify) load.status = check(load);
  if (!load.status.ok() && !load.retried) {
    load = Load{.job = load.job, .status = {}, .retried = true};
    (load.job.hint ? hints_ : demands_).push_front(slot);
    std::lock_guard lock(mutex_);
    ++stats_.retries;
    return;
  }
  finish(slot, load.status);
}

Status Transfer::check(const Load& load) const {
  const ExpertExtent& extent = *load.job.extent;
  std::vector<std::uint64_t> pieces;
  for (std::uint64_t begin = 0; begin < extent.bytes; begin += extent.piece) {
    const auto bytes = static_cast<std::size_t>(std::min(extent.piece, extent.bytes - begin));
    pieces.push_back(checksum(std::span<const std::byte>(load.job.to + begin, bytes)));
  }
  if (checksum_of(pieces) == extent.checksum) return {};
  return data_loss("its " + std::to_string(extent.bytes) + " bytes from byte " + std::to_string(extent.offset) +
                   " do not have the checksum " + checksum_text(extent.checksum) + ": the file is damaged");
}

void Transfer::finish(std::size_t slot, Status status) {
  const LoadJob& job = loads_[slot].job;
  if (!status.ok()) {
    const std::string where = job.extent->file != nullptr ? job.extent->file->path() + ": " : "";
    std::string why = status.message();
    if (!where.empty() && why.starts_with(where)) why.erase(0, where.size());
    status = Status(status.code(), where + expert_text(job.key) + ": " + why, expert_text(job.key));
  }
  free_loads_.push_back(slot);
  std::lock_guard lock(mutex_);
  ++(status.ok() ? stats_.loads : stats_.failures);
  if (status.ok()) stats_.bytes += job.extent->bytes;
  ends_.push_back({job.tag, std::move(status)});
  ended_.notify_one();
}

}  // namespace foregate
