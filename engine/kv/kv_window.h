// How many blocks of the window group one sequence holds: those that its next rows read or write. Pure; any thread.
#pragma once

#include <algorithm>
#include <cstdint>

#include "engine/kv/block_pool.h"

namespace foregate {

struct KvWindow {
  std::int32_t positions = 0;  // that a row sees, itself among them; 0: there is no such group
  std::int32_t rows = 0;       // of one sequence in one step at most
  bool on() const { return positions > 0; }
};

// The first block that a row at `position` reads.
constexpr std::int32_t first_in_window(std::int32_t position, std::int32_t window, std::int32_t block_size) {
  return std::max(0, position - window + 1) / block_size;
}

// Blocks that a sequence with steps of `rows` rows holds at most: those of the rows and of the window before them,
// which may begin and end within a block, and one more where it starts with a part of a block that others computed.
constexpr std::int32_t most_in_window(std::int32_t window, std::int64_t rows, std::int32_t block_size) {
  return blocks_for(window - 1 + rows, block_size) + 2;
}

// Rows for which that is `blocks` at most, `rows` at most; 0: not even one.
constexpr std::int32_t rows_in_window(std::int32_t window, std::int64_t blocks, std::int32_t block_size,
                                      std::int32_t rows) {
  return static_cast<std::int32_t>(std::clamp<std::int64_t>((blocks - 2) * block_size - window + 1, 0, rows));
}

}  // namespace foregate
