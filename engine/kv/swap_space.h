// Copies of KV blocks in host memory, of sequences that had to give up theirs: within a bound, and taken back byte for
// byte. Owned by the runtime, engine thread only.
#pragma once

#include <cstdint>
#include <map>
#include <span>

#include "engine/base/ids.h"
#include "engine/kv/kv_cache.h"
#include "kernels/api/device.h"

namespace foregate {

class SwapSpace {
 public:
  SwapSpace(Device& device, std::int64_t capacity_bytes) : device_(device), capacity_bytes_(capacity_bytes) {}
  // Of copies of so many blocks, and of the window group.
  static std::int64_t bytes_of(const KvCache& cache, std::size_t blocks, std::size_t window_blocks);
  // Whether copies of so many blocks, and of the window group, have room now.
  bool fits(const KvCache& cache, std::size_t blocks, std::size_t window_blocks = 0) const;
  // Copies the blocks, in the order of their positions. False, with nothing kept, when there is no room.
  bool save(SeqId seq, const KvCache& cache, std::span<const BlockId> blocks,
            std::span<const BlockId> window_blocks = {});
  // Writes the saved blocks number first, first + 1, ... into `blocks`, and the first ones of the window group into
  // `window_blocks`. The copy stays.
  void load(SeqId seq, KvCache& cache, std::size_t first, std::span<const BlockId> blocks,
            std::span<const BlockId> window_blocks = {}) const;
  void drop(SeqId seq);  // nothing happens when there is no copy
  std::int64_t used_bytes() const { return used_bytes_; }
  std::size_t copies() const { return copies_.size(); }

 private:
  Device& device_;
  const std::int64_t capacity_bytes_;
  std::int64_t used_bytes_ = 0;
  struct Copy {
    Memory memory;  // the blocks, then those of the window group
    std::size_t blocks = 0;
  };
  std::map<SeqId, Copy> copies_;
};

}  // namespace foregate
