#include "engine/weights/packed_reader.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <thread>

#include "engine/base/checksum.h"

namespace foregate {
namespace {

struct FreeBytes {
  void operator()(std::byte* bytes) const { std::free(bytes); }
};
using PieceBuffer = std::unique_ptr<std::byte, FreeBytes>;

std::size_t pieces_of(const PackedUnit& unit) {
  return static_cast<std::size_t>((unit.bytes + kPackedPiece - 1) / kPackedPiece);
}

class UnitReader {
 public:
  UnitReader(std::span<const UnitRead> reads, const UnitReadOptions& options, std::vector<Status>* each)
      : reads_(reads), options_(options), each_(each), left_(new std::atomic<std::size_t>[reads.size()]) {
    for (std::size_t r = 0; r < reads.size(); ++r) {
      const std::size_t count = pieces_of(*reads[r].unit);
      left_[r] = count;
      first_hash_.push_back(pieces_.size());
      for (std::size_t p = 0; p < count; ++p) pieces_.push_back({r, p});
      total_bytes_ += reads[r].unit->bytes;
    }
    hashes_.resize(pieces_.size());
    if (each_ != nullptr) each_->assign(reads.size(), Status());
  }

  Status run(const ReadProgress& progress);

 private:
  struct Piece {
    std::size_t read;
    std::size_t number;
  };

  void work();
  Status read_piece(std::size_t at, PieceBuffer& buffer);
  Status compare(std::size_t read) const;
  void done(std::size_t read, std::uint64_t bytes, Status status);

  std::span<const UnitRead> reads_;
  const UnitReadOptions& options_;
  std::vector<Status>* each_;
  std::vector<Piece> pieces_;
  std::vector<std::size_t> first_hash_;               // by read
  std::vector<std::uint64_t> hashes_;                 // by piece; each written by the thread that reads it
  std::unique_ptr<std::atomic<std::size_t>[]> left_;  // pieces of a read that are not hashed yet
  std::uint64_t total_bytes_ = 0;
  std::atomic<std::size_t> next_{0};
  std::atomic<bool> stop_{false};

  std::mutex mutex_;  // of all below
  std::condition_variable changed_;
  std::uint64_t done_bytes_ = 0;
  int working_ = 0;
  Status first_fault_;
};

Status UnitReader::read_piece(std::size_t at, PieceBuffer& buffer) {
  const auto [r, number] = pieces_[at];
  const UnitRead& read = reads_[r];
  const std::uint64_t begin = number * kPackedPiece;
  const auto bytes = static_cast<std::size_t>(std::min(kPackedPiece, read.unit->bytes - begin));
  std::byte* to = read.to + begin;
  if (read.to == nullptr) {
    if (!buffer) buffer.reset(static_cast<std::byte*>(std::aligned_alloc(kDirectPage, kPackedPiece)));
    if (!buffer) return resource_exhausted("no memory to read a piece of weights into");
    to = buffer.get();
  }
  RETURN_IF_ERROR(read.file->read(read.unit->offset + begin, {to, bytes}));
  if (!options_.verify) return {};
  hashes_[at] = checksum(std::span<const std::byte>(to, bytes));
  // The last one to leave sees the hashes of all others.
  return left_[r].fetch_sub(1, std::memory_order_acq_rel) == 1 ? compare(r) : Status();
}

Status UnitReader::compare(std::size_t read) const {
  const PackedUnit& unit = *reads_[read].unit;
  if (checksum_of(std::span(hashes_).subspan(first_hash_[read], pieces_of(unit))) == unit.checksum) return {};
  return data_loss(reads_[read].file->path() + ": " + packed_unit_text(unit) + " (" + std::to_string(unit.bytes) +
                       " bytes from byte " + std::to_string(unit.offset) + ") does not have the checksum " +
                       checksum_text(unit.checksum) + ": the file is damaged",
                   packed_unit_text(unit));
}

void UnitReader::done(std::size_t read, std::uint64_t bytes, Status status) {
  std::lock_guard lock(mutex_);
  done_bytes_ += bytes;
  if (!status.ok()) {
    if (first_fault_.ok()) first_fault_ = status;
    if (each_ == nullptr) stop_ = true;
    if (each_ != nullptr && (*each_)[read].ok()) (*each_)[read] = std::move(status);
  }
  changed_.notify_one();
}

void UnitReader::work() {
  PieceBuffer buffer;
  while (!stop_) {
    const std::size_t at = next_.fetch_add(1);
    if (at >= pieces_.size()) break;
    const Piece& piece = pieces_[at];
    const std::uint64_t begin = piece.number * kPackedPiece;
    Status status = read_piece(at, buffer);
    done(piece.read, std::min(kPackedPiece, reads_[piece.read].unit->bytes - begin), std::move(status));
  }
  std::lock_guard lock(mutex_);
  --working_;
  changed_.notify_one();
}

Status UnitReader::run(const ReadProgress& progress) {
  const std::size_t count = std::min(pieces_.size(), static_cast<std::size_t>(std::max(options_.requests, 1)));
  working_ = static_cast<int>(count);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < count; ++t) threads.emplace_back([this] { work(); });
  std::uint64_t shown = 0;
  std::unique_lock lock(mutex_);
  while (working_ > 0 || shown != done_bytes_) {
    changed_.wait(lock, [&] { return working_ == 0 || shown != done_bytes_; });
    const bool news = shown != done_bytes_;
    shown = done_bytes_;
    lock.unlock();
    if (news && progress) progress(shown, total_bytes_);
    lock.lock();
  }
  lock.unlock();
  for (std::thread& thread : threads) thread.join();
  return first_fault_;
}

}  // namespace

Status read_units(std::span<const UnitRead> reads, const UnitReadOptions& options, const ReadProgress& progress,
                  std::vector<Status>* each) {
  return UnitReader(reads, options, each).run(progress);
}

Status verify_packed(const PackedModel& model, const ReadProgress& progress, std::vector<Status>* each) {
  std::vector<UnitRead> reads;
  for (const PackedUnit& unit : model.index().units) reads.push_back({&model.file(unit), &unit, nullptr});
  return read_units(reads, {}, progress, each);
}

}  // namespace foregate
