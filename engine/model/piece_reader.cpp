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
  std::optional<StoredRows> rows;
  Status status;
};

std::int64_t piece_rows(const WeightItem& item) {
  const std::int64_t unit = std::lcm<std::int64_t>(kRowInterleave, std::max(item.paired_rows, 1));
  return std::min(item.rows, std::max(kPieceBytes / bytes_of(item, 1) / unit * unit, unit));
}

bool PieceRing::grow(std::int64_t bytes) {
  CHECK(empty());
  if (bytes <= bytes_) return true;
  memory_.reset();
  memory_.reset(static_cast<std::byte*>(std::aligned_alloc(kDirectPage, static_cast<std::size_t>(bytes))));
  bytes_ = memory_ != nullptr ? bytes : 0;
  return memory_ != nullptr;
}

// Behind what was taken last, or at the beginning; -1: nowhere.
std::int64_t PieceRing::place_for(std::int64_t bytes) const {
  if (empty()) return bytes <= bytes_ ? 0 : -1;
  const std::int64_t first = taken_.front();
  if (end_ <= first) return end_ + bytes <= first ? end_ : -1;
  if (end_ + bytes <= bytes_) return end_;
  return bytes <= first ? 0 : -1;
}

std::byte* PieceRing::take(std::int64_t bytes) {
  const std::int64_t place = place_for(bytes);
  CHECK(place >= 0);
  taken_.push_back(place);
  end_ = place + bytes;
  return memory_.get() + place;
}

void PieceRing::give_back() {
  CHECK(!empty());
  taken_.pop_front();
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
    current_ = {};
    ring_.clear();
    stored_.reset();
    plan_.clear();
    std::int64_t memory = 0;
    for (const WeightItem* item : items) {
      const std::int64_t step = piece_rows(*item);
      for (std::int64_t row = 0; row < item->rows; row += step) {
        plan_.push_back({item, row, std::min(step, item->rows - row)});
        memory += memory_of(plan_.back());
      }
    }
    ring_.grow(std::min(memory, 2 * piece_memory(kPieceBytes)));  // without memory, reading says so
    started_ = given_ = 0;
  }
  work_.notify_all();
}

std::int64_t PieceReader::memory_of(const Place& place) {
  return piece_memory(bytes_of(*place.item, place.rows));
}

// With the mutex held. A piece that alone is more than all may have waits until nothing else is held.
bool PieceReader::may_start() const {
  if (started_ == plan_.size()) return false;
  const std::int64_t memory = memory_of(plan_[started_]);
  return ring_.fits(memory) || (ring_.empty() && memory > ring_.bytes());
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
  slot.piece.item = place.item;
  slot.piece.row = place.row;
  slot.piece.rows = place.rows;
  slot.piece.size = bytes_of(*place.item, place.rows);
  slot.stored = stored_of(*place.item);
  const std::int64_t memory = memory_of(place);
  if (ring_.empty() && !ring_.grow(memory)) {
    slot.status = resource_exhausted("no memory to read " + place.item->name);
  } else {
    slot.piece.bytes = ring_.take(memory);
  }
  return slot;
}

// Without it.
Status PieceReader::read(Slot& slot) {
  RETURN_IF_ERROR(slot.status);
  Piece& piece = slot.piece;
  const WeightItem& item = *piece.item;
  const auto size = static_cast<std::size_t>(piece.size);
  if (slot.stored == nullptr) {
    const std::uint64_t begin = item.begin + static_cast<std::uint64_t>(bytes_of(item, piece.row));
    ASSIGN_OR_RETURN(piece.bytes, index_.read_pages(*item.entry, begin, size, piece.bytes));
    return {};
  }
  Stored& stored = *slot.stored;
  std::lock_guard lock(stored.mutex);
  RETURN_IF_ERROR(stored.status);
  if (!stored.rows) {
    auto opened = StoredRows::open(index_, *item.stored);
    stored.status = opened.status();
    RETURN_IF_ERROR(stored.status);
    stored.rows = std::move(opened).value();
    std::lock_guard all(mutex_);
    rounded_scales_ += stored.rows->rounded_scales();
  }
  return stored.rows->read(piece.row, piece.rows, piece.bytes);
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
  if (current_.piece.bytes != nullptr) ring_.give_back();
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
