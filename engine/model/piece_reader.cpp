#include "engine/model/piece_reader.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "kernels/api/check.h"
#include "kernels/api/quant.h"

namespace foregate {
namespace {

std::int64_t bytes_of(const WeightItem& item, std::int64_t rows) {
  return rows * dtype_row_bytes(source_type(item), item.cols);
}

}  // namespace

// Opened by the thread that reads first of it; its pieces are read one at a time.
struct PieceReader::Stored {
  const WeightItem* item = nullptr;
  std::mutex mutex;
  std::optional<Int4Rows> rows;
  Status status;
};

std::int64_t piece_rows(const WeightItem& item) {
  const std::int64_t unit = std::lcm<std::int64_t>(kRowInterleave, std::max(item.paired_rows, 1));
  return std::min(item.rows, std::max(kPieceBytes / bytes_of(item, 1) / unit * unit, unit));
}

PieceReader::PieceReader(const TensorIndex& index, int threads) : index_(index) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
}

PieceReader::~PieceReader() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  work_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void PieceReader::begin(const std::vector<const WeightItem*>& items) {
  {
    std::unique_lock lock(mutex_);
    started_ = plan_.size();  // nothing new is started
    done_.wait(lock, [this] { return busy_ == 0; });
    slots_.clear();
    give_back();
    held_bytes_ = 0;
    stored_.reset();
    plan_.clear();
    for (const WeightItem* item : items) {
      const std::int64_t step = piece_rows(*item);
      for (std::int64_t row = 0; row < item->rows; row += step) {
        plan_.push_back({item, row, std::min(step, item->rows - row)});
      }
    }
    started_ = given_ = 0;
  }
  work_.notify_all();
}

// With the mutex held. A piece that alone is more than all may have waits until nothing else is held.
bool PieceReader::may_start() const {
  if (started_ == plan_.size()) return false;
  const Place& place = plan_[started_];
  return held_bytes_ == 0 || held_bytes_ + bytes_of(*place.item, place.rows) <= kAheadBytes;
}

std::shared_ptr<PieceReader::Stored> PieceReader::stored_of(const WeightItem& item) {
  if (!item.stored) return nullptr;
  if (stored_ == nullptr || stored_->item != &item) {
    stored_ = std::make_shared<Stored>();
    stored_->item = &item;
  }
  return stored_;
}

// With the mutex held.
PieceReader::Slot PieceReader::start() {
  const Place& place = plan_[started_++];
  Slot slot;
  slot.piece = {place.item, place.row, place.rows, bytes_of(*place.item, place.rows), nullptr};
  slot.stored = stored_of(*place.item);
  held_bytes_ += slot.piece.size;
  return slot;
}

// Without it.
Status PieceReader::read(Slot& slot) {
  Piece& piece = slot.piece;
  const WeightItem& item = *piece.item;
  const auto size = static_cast<std::size_t>(piece.size);
  piece.bytes = std::make_unique_for_overwrite<std::byte[]>(size);
  if (slot.stored == nullptr) {
    return index_.read(*item.entry, item.begin + static_cast<std::uint64_t>(bytes_of(item, piece.row)),
                       {piece.bytes.get(), size});
  }
  Stored& stored = *slot.stored;
  std::lock_guard lock(stored.mutex);
  RETURN_IF_ERROR(stored.status);
  if (!stored.rows) {
    auto opened = Int4Rows::open(index_, *item.stored);
    stored.status = opened.status();
    RETURN_IF_ERROR(stored.status);
    stored.rows = std::move(opened).value();
    std::lock_guard all(mutex_);
    rounded_scales_ += stored.rows->rounded_scales();
  }
  return stored.rows->read(piece.row, piece.rows, piece.bytes.get());
}

void PieceReader::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    work_.wait(lock, [this] { return stop_ || may_start(); });
    if (stop_) return;
    const std::size_t number = started_;
    Slot slot = start();
    ++busy_;
    lock.unlock();
    slot.status = read(slot);
    lock.lock();
    --busy_;
    slots_.emplace(number, std::move(slot));
    done_.notify_all();
  }
}

// With the mutex held.
void PieceReader::give_back() {
  held_bytes_ -= current_.piece.size;
  current_ = {};
}

Result<Piece*> PieceReader::next() {
  std::unique_lock lock(mutex_);
  CHECK(given_ < plan_.size());
  give_back();
  if (threads_.empty()) {
    current_ = start();
    lock.unlock();
    current_.status = read(current_);
    lock.lock();
  } else {
    work_.notify_all();
    auto slot = slots_.find(given_);
    ready_ += slot != slots_.end();
    done_.wait(lock, [&] { return (slot = slots_.find(given_)) != slots_.end(); });
    current_ = std::move(slot->second);
    slots_.erase(slot);
  }
  ++given_;
  ++pieces_;
  RETURN_IF_ERROR(current_.status);
  return &current_.piece;
}

std::int64_t PieceReader::rounded_scales() const {
  std::lock_guard lock(mutex_);
  return rounded_scales_;
}

}  // namespace foregate
