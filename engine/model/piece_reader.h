// Reads planned weights ahead of who packs them: piece after piece in the order of the plan, on threads of its own,
// while the owner works on the piece before. Owned by a WeightPacker; one thread calls it. The items and the index must
// stay where they are until they are read or another plan begins.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "engine/base/status.h"
#include "engine/model/weight_plan.h"
#include "engine/weights/stored_rows.h"
#include "engine/weights/tensor_index.h"

namespace foregate {

inline constexpr std::int64_t kPieceBytes = std::int64_t{16} << 20;  // of one piece, where 16 rows fit
inline constexpr std::int64_t kAheadBytes = 2 * kPieceBytes;         // of all that are held
inline constexpr int kPieceThreads = 4;

// Memory of one piece.
inline constexpr std::int64_t piece_memory(std::int64_t bytes) {
  return static_cast<std::int64_t>(TensorIndex::page_buffer_bytes(static_cast<std::size_t>(bytes)));
}

// Rows of one piece of an item, the last one may have fewer: whole blocks of 16, and whole heads where rows are paired.
std::int64_t piece_rows(const WeightItem& item);

struct Piece {
  const WeightItem* item = nullptr;
  std::int64_t row = 0;
  std::int64_t rows = 0;
  std::int64_t size = 0;       // in bytes
  std::byte* bytes = nullptr;  // rows of source_type(*item)
};

// Memory that is taken and given back in one order, in a ring. Not safe to share.
class PieceRing {
 public:
  // Nothing may be taken. False: no memory.
  bool grow(std::int64_t bytes);
  std::int64_t bytes() const { return bytes_; }
  bool empty() const { return taken_.empty(); }
  bool fits(std::int64_t bytes) const { return place_for(bytes) >= 0; }
  std::byte* take(std::int64_t bytes);  // which fit
  void give_back();                     // what was taken first
  void clear() { taken_.clear(); }

 private:
  std::int64_t place_for(std::int64_t bytes) const;

  std::unique_ptr<std::byte, void (*)(void*)> memory_{nullptr, std::free};
  std::int64_t bytes_ = 0;
  std::int64_t end_ = 0;            // of what was taken last
  std::deque<std::int64_t> taken_;  // where each begins
};

class PieceReader {
 public:
  // Without threads next() reads.
  explicit PieceReader(const TensorIndex& index, int threads = kPieceThreads);
  ~PieceReader();

  // What next() gives from now on. Pieces of an earlier plan are dropped.
  void begin(const std::vector<const WeightItem*>& items);
  // The next piece of the plan, the owner's until the next call, which may change its bytes; there must be one. Errors
  // name file and tensor, and come in the order of the plan.
  Result<Piece*> next();

  std::int64_t pieces() const { return pieces_; }  // that next() gave
  std::int64_t ready() const { return ready_; }    // of these, were there when they were asked for
  std::int64_t rounded_scales() const;             // of quantized matrices, that an f16 does not hold exactly

 private:
  struct Stored;  // rows of one matrix of several tensors
  struct Slot {
    Piece piece;
    Status status;
    std::shared_ptr<Stored> stored;
  };

  struct Place {
    const WeightItem* item;
    std::int64_t row;
    std::int64_t rows;
  };

  bool may_start() const;
  Slot start();
  static std::int64_t memory_of(const Place& place);
  Status read(Slot& slot);
  void work();
  void give_back();
  std::shared_ptr<Stored> stored_of(const WeightItem& item);

  const TensorIndex& index_;
  mutable std::mutex mutex_;  // of all below but the figures
  std::condition_variable work_;
  std::condition_variable done_;
  std::vector<Place> plan_;
  std::size_t started_ = 0;            // pieces of the plan
  std::size_t given_ = 0;              // likewise
  std::size_t busy_ = 0;               // pieces being read
  std::map<std::size_t, Slot> slots_;  // started and not given, by place in the plan
  PieceRing ring_;                     // holds slots_ and current_
  std::shared_ptr<Stored> stored_;     // of the piece that was started last
  std::int64_t rounded_scales_ = 0;
  bool stop_ = false;
  Slot current_;  // the owner's
  std::int64_t pieces_ = 0;
  std::int64_t ready_ = 0;
  std::vector<std::thread> threads_;
};

}  // namespace foregate
