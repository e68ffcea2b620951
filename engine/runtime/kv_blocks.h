// Which layout the KV cache of a served model has, and how many blocks of each group memory is taken for. Pure.
#pragma once

#include <cstdint>

#include "engine/kv/kv_layout.h"
#include "engine/model/model_config.h"
#include "engine/runtime/boot.h"
#include "engine/runtime/memory_budget.h"

namespace foregate {

// Layers with a window have blocks of their own, unless that is switched off, their blocks are not given up, blocks
// come and go with the experts (elastic_bytes), or other ranks have copies of them (exchange).
KvLayout cache_layout(const ModelConfig& config, const BootOptions& options, DType type);

// Bytes of one sequence of so many positions, when it holds most.
std::int64_t sequence_bytes(const KvLayout& layout, std::int64_t positions, std::int32_t max_num_batched_tokens);

struct KvBlocks {
  std::int64_t main = 0;
  std::int64_t window = 0;  // 0: the layout is not grouped
  std::int64_t bytes(const KvLayout& layout) const {
    return main * layout.block_bytes(KvGroup::kMain) + window * layout.block_bytes(KvGroup::kWindow);
  }
};

// As choose_num_blocks(), whose numbers are those of the main group. The window group gets what max_num_seqs sequences
// need together, `rows` rows of a step among them, and as much again for the prefix cache, but no more blocks than the
// main group: nobody is worse off than with blocks of all layers. Where all layers have a window, the numbers are those
// of the window group, and the main group is without memory.
struct WindowBudget {
  std::int32_t rows = 0;
  std::int32_t max_num_seqs = 0;
  bool prefix_caching = true;
};
Result<KvBlocks> choose_kv_blocks(const KvBudget& budget, const KvLayout& layout, const WindowBudget& window);

}  // namespace foregate
