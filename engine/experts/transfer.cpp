#include "engine/experts/transfer.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "engine/base/checksum.h"

namespace foregate {
namespace {

constexpr auto kLongestWait = std::chrono::milliseconds(10);  // after it the thread looks whether it is to end

// Of chunks of hints: a demand that comes meanwhile waits for so many. Chunks of certain loads go beyond it while no
// demand is in flight: those of the layer that waits would get only their part of the disk.
constexpr std::size_t kHintDepth = 2;

std::string unit_text(ExpertKey key) {
  if (key.expert.value < 0) return "dense weights of layer " + std::to_string(key.layer.value);
  return "expert " + std::to_string(key.expert.value) + " of layer " + std::to_string(key.layer.value);
}

std::uint64_t tag_of(std::size_t slot, std::uint64_t chunk) {
  return static_cast<std::uint64_t>(slot) << 32 | chunk;
}

}  // namespace

struct Transfer::Load {
  LoadJob job;
  bool retried = false;
  std::uint64_t submitted = 0;  // bytes
  std::uint64_t checked = 0;    // bytes that its checksum has
  Status status = {};
  std::size_t in_flight = 0;    // chunks
  std::size_t hint_chunks = 0;  // of them, submitted as a hint's
  std::vector<bool> landed = {};
  std::unique_ptr<PiecewiseChecksum> checksum = {};
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
    for (const LoadJob& job : jobs) take(job);
    fill_queue();
  }
  work_.notify_one();
}

void Transfer::promote(std::uint64_t tag) {
  std::lock_guard lock(mutex_);
  for (Load& load : loads_) {
    if (load.job.tag != tag) continue;
    load.job.hint = false;  // even when all of it is in flight: it may be read once more
    hint_chunks_ -= std::exchange(load.hint_chunks, 0);
  }
  for (std::deque<std::size_t>* from : {&certain_, &hints_}) {
    const auto at = std::find_if(from->begin(), from->end(), [&](std::size_t i) { return loads_[i].job.tag == tag; });
    if (at == from->end()) continue;
    demands_.push_back(*at);
    from->erase(at);
  }
  fill_queue();
}

void Transfer::cancel(std::uint64_t tag) {
  std::lock_guard lock(mutex_);
  for (std::deque<std::size_t>* from : {&certain_, &hints_}) {
    const auto at = std::find_if(from->begin(), from->end(), [&](std::size_t i) { return loads_[i].job.tag == tag; });
    if (at == from->end() || loads_[*at].submitted > 0) continue;
    end(loads_[*at].job, Status(Code::kCancelled, "no longer wanted"));
    free_loads_.push_back(*at);
    from->erase(at);
    return;
  }
}

void Transfer::collect(LoadOwner owner, std::vector<LoadEnd>& ends, bool wait) {
  std::unique_lock lock(mutex_);
  std::vector<LoadEnd>& own = ends_[static_cast<std::size_t>(owner)];
  if (wait) ended_.wait(lock, [&own] { return !own.empty(); });
  ends.insert(ends.end(), std::make_move_iterator(own.begin()), std::make_move_iterator(own.end()));
  own.clear();
}

TransferStats Transfer::stats(LoadOwner owner) const {
  std::lock_guard lock(mutex_);
  TransferStats stats = stats_[static_cast<std::size_t>(owner)];
  for (const TransferStats& each : stats_) stats.all_bytes += each.bytes;
  stats.busy_seconds = busy_seconds_;
  return stats;
}

void Transfer::end(const LoadJob& job, Status status) {
  ends_[static_cast<std::size_t>(job.owner())].push_back({job.tag, std::move(status)});
  ended_.notify_one();
}

void Transfer::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    work_.wait(lock, [this] {
      return stop_ || queue_->in_flight() > 0 || !demands_.empty() || !certain_.empty() || !hints_.empty() ||
             !unchecked_.empty();
    });
    if (stop_) break;
    if (make_next(lock)) continue;
    lock.unlock();
    read_ends_.clear();
    queue_->wait(read_ends_, unchecked_.empty() ? kLongestWait : std::chrono::milliseconds(0));
    lock.lock();
    for (const ReadEnd& end : read_ends_) chunk_ended(end);
    fill_queue();  // the disk goes on while a checksum is taken
    note_busy();
    check_next(lock);
  }
  lock.unlock();
  while (queue_->in_flight() > 0) queue_->wait(read_ends_, kLongestWait);
}

void Transfer::take(const LoadJob& job) {
  std::size_t slot = loads_.size();
  if (free_loads_.empty()) {
    loads_.emplace_back();
  } else {
    slot = free_loads_.back();
    free_loads_.pop_back();
  }
  loads_[slot] = Load{.job = job};
  place_of(job).push_back(slot);
}

std::uint64_t Transfer::chunk_size(const Load& load, std::uint64_t begin) const {
  return std::min(options_.chunk_bytes, load.job.extent->bytes - begin);
}

std::deque<std::size_t>& Transfer::place_of(const LoadJob& job) {
  return !job.hint ? demands_ : job.certain ? certain_ : hints_;
}

// Where the next load is; null when nothing may be read now.
std::deque<std::size_t>* Transfer::next_place() {
  const std::size_t in_flight = queue_->in_flight() + ops_.size();
  if (!demands_.empty()) return &demands_;
  if (!certain_.empty()) {
    const LoadJob& job = loads_[certain_.front()].job;
    const bool beside = job.stream && job.owner() == LoadOwner::kExperts;  // a prompt's, behind its own demands
    return beside || in_flight == hint_chunks_ || in_flight < kHintDepth ? &certain_ : nullptr;
  }
  return !hints_.empty() && hint_chunks_ < kHintDepth ? &hints_ : nullptr;
}

bool Transfer::has_room() {
  const std::deque<std::size_t>* from = next_place();
  if (from == nullptr) return false;
  const bool deep = options_.depth == 0 || loads_[from->front()].job.stream;
  return queue_->in_flight() + ops_.size() < (deep ? queue_->depth() : std::min(options_.depth, queue_->depth()));
}

void Transfer::fill_queue() {
  ops_.clear();
  while (has_room() && next_read()) {
  }
  if (ops_.empty()) return;
  queue_->submit(ops_);
  ops_.clear();
  note_busy();
}

// False when there is nothing to read now.
bool Transfer::next_read() {
  std::deque<std::size_t>* from = next_place();
  if (from == nullptr) return false;
  const std::size_t slot = from->front();
  Load& load = loads_[slot];
  const ExpertExtent& extent = *load.job.extent;
  if (extent.file == nullptr) return false;  // the transfer thread makes it
  if (load.submitted == 0) {
    load.landed.assign(static_cast<std::size_t>((extent.bytes + options_.chunk_bytes - 1) / options_.chunk_bytes),
                       false);
    if (options_.verify) load.checksum = std::make_unique<PiecewiseChecksum>(extent.piece);
  }
  const std::uint64_t bytes = chunk_size(load, load.submitted);
  ops_.push_back({.file = extent.file,
                  .offset = extent.offset + load.submitted,
                  .out = {load.job.to + load.submitted, static_cast<std::size_t>(bytes)},
                  .tag = tag_of(slot, load.submitted / options_.chunk_bytes)});
  load.submitted += bytes;
  ++load.in_flight;
  if (load.job.hint) {
    ++load.hint_chunks;
    ++hint_chunks_;
  }
  if (load.submitted == extent.bytes) from->pop_front();
  return true;
}

// An expert without a file, when it is the next. False when it is not.
bool Transfer::make_next(std::unique_lock<std::mutex>& lock) {
  std::deque<std::size_t>* from = next_place();
  if (from == nullptr || loads_[from->front()].job.extent->file != nullptr) return false;
  const std::size_t slot = from->front();
  from->pop_front();
  const LoadJob job = loads_[slot].job;
  lock.unlock();
  const Clock::time_point start = Clock::now();
  Status status = options_.fill(job.key, job.to);
  const bool again = !status.ok();
  if (again) status = options_.fill(job.key, job.to);
  lock.lock();
  stats_[static_cast<std::size_t>(job.owner())].retries += again ? 1 : 0;
  busy_seconds_ += std::chrono::duration<double>(Clock::now() - start).count();
  finish(slot, std::move(status));
  return true;
}

void Transfer::note_busy() {
  const bool busy = queue_->in_flight() > 0;
  if (busy == busy_) return;
  busy_ = busy;
  const Clock::time_point now = Clock::now();
  if (busy) busy_since_ = now;
  if (!busy) busy_seconds_ += std::chrono::duration<double>(now - busy_since_).count();
}

// A load ends when all its chunks have: their memory may be given away only then.
void Transfer::chunk_ended(const ReadEnd& end) {
  const auto slot = static_cast<std::size_t>(end.tag >> 32);
  Load& load = loads_[slot];
  --load.in_flight;
  if (load.hint_chunks > 0) {
    --load.hint_chunks;
    --hint_chunks_;
  }
  load.landed[static_cast<std::size_t>(end.tag & 0xffffffff)] = true;
  const auto waits = std::find(unchecked_.begin(), unchecked_.end(), slot);
  if (!end.status.ok() && load.status.ok()) load.status = end.status;
  if (!load.status.ok() && waits != unchecked_.end()) unchecked_.erase(waits);
  const bool whole = load.in_flight == 0 && load.submitted == load.job.extent->bytes;
  if (!load.status.ok() || !options_.verify) {
    if (whole) all_read(slot);
    return;
  }
  const bool next = load.landed[static_cast<std::size_t>(load.checked / options_.chunk_bytes)];
  if (waits == unchecked_.end() && next) unchecked_.push_back(slot);
}

// One chunk, those of demands first. Nobody else touches a load of unchecked_ meanwhile.
void Transfer::check_next(std::unique_lock<std::mutex>& lock) {
  if (unchecked_.empty()) return;
  const auto demand = std::find_if(unchecked_.begin(), unchecked_.end(), [&](auto i) { return !loads_[i].job.hint; });
  const std::size_t slot = demand == unchecked_.end() ? unchecked_.front() : *demand;
  Load& load = loads_[slot];
  const std::uint64_t bytes = chunk_size(load, load.checked);
  lock.unlock();
  load.checksum->add({load.job.to + load.checked, static_cast<std::size_t>(bytes)});
  lock.lock();
  load.checked += bytes;
  const bool whole = load.checked == load.job.extent->bytes;
  if (!whole && load.landed[static_cast<std::size_t>(load.checked / options_.chunk_bytes)]) return;
  std::erase(unchecked_, slot);
  if (whole) all_read(slot);
}

void Transfer::all_read(std::size_t slot) {
  Load& load = loads_[slot];
  if (load.status.ok() && options_.verify) load.status = compare(load);
  if (!load.status.ok() && !load.retried) {
    load = Load{.job = load.job, .retried = true};
    place_of(load.job).push_front(slot);
    ++stats_[static_cast<std::size_t>(load.job.owner())].retries;
    return;
  }
  finish(slot, load.status);
}

Status Transfer::compare(Load& load) const {
  const ExpertExtent& extent = *load.job.extent;
  if (load.checksum->value() == extent.checksum) return {};
  return data_loss("its " + std::to_string(extent.bytes) + " bytes from byte " + std::to_string(extent.offset) +
                   " do not have the checksum " + checksum_text(extent.checksum) + ": the file is damaged");
}

void Transfer::finish(std::size_t slot, Status status) {
  const LoadJob& job = loads_[slot].job;
  if (!status.ok()) {
    const std::string where = job.extent->file != nullptr ? job.extent->file->path() + ": " : "";
    std::string why = status.message();
    if (!where.empty() && why.starts_with(where)) why.erase(0, where.size());
    status = Status(status.code(), where + unit_text(job.key) + ": " + why, unit_text(job.key));
  }
  free_loads_.push_back(slot);
  TransferStats& stats = stats_[static_cast<std::size_t>(job.owner())];
  ++(status.ok() ? stats.loads : stats.failures);
  if (status.ok()) stats.bytes += job.extent->bytes;
  end(job, std::move(status));
}

}  // namespace foregate
