#include "engine/runtime/kv_blocks.h"

#include <algorithm>
#include <limits>
#include <string>

#include "engine/kv/kv_window.h"
#include "engine/model/transformer.h"

namespace foregate {
namespace {

// Blocks without memory, by which prefixes are known and compared: some hundred bytes each all the same.
constexpr std::int64_t kMostWithoutMemory = 1 << 18;

// Of all sequences together: each has its window, and a row or more of those that a step has.
std::int64_t window_blocks_wanted(const KvLayout& layout, const WindowBudget& w) {
  const std::int32_t window = layout.window(KvGroup::kWindow);
  const std::int64_t each = most_in_window(window, 1, layout.block_size);
  const std::int64_t running = w.max_num_seqs * each + blocks_for(w.rows, layout.block_size);
  return w.prefix_caching ? 2 * running : running;
}

// What the choice is made from, in blocks.
struct Wants {
  std::int64_t one = 0;         // of the main group, by one sequence of full length
  std::int64_t one_window = 0;  // of the window group, likewise
  std::int64_t window = 0;      // by all
};

// As many as go into `bytes`.
KvBlocks divide(std::int64_t bytes, const KvLayout& layout, const Wants& wants) {
  const std::int64_t main_bytes = layout.block_bytes(KvGroup::kMain);
  const std::int64_t window_bytes = layout.block_bytes(KvGroup::kWindow);
  KvBlocks blocks;
  if (main_bytes == 0) {
    blocks.window = bytes / window_bytes;
    return blocks;
  }
  blocks.main = blocks.window = bytes / (main_bytes + window_bytes);
  if (blocks.main > wants.window) {
    blocks.window = wants.window;
    blocks.main = (bytes - blocks.window * window_bytes) / main_bytes;
  }
  if (blocks.main < wants.one && bytes >= wants.one * main_bytes) {
    blocks.main = wants.one;
    blocks.window = (bytes - wants.one * main_bytes) / window_bytes;
  }
  return blocks;
}

Status check_blocks(const KvBudget& budget, const KvLayout& layout, const Wants& wants, const KvLimit& limit,
                    const KvBlocks& blocks) {
  const KvBlocks one{layout.block_bytes(KvGroup::kMain) > 0 ? wants.one : 0, wants.one_window};
  if (budget.num_blocks == 0 && (blocks.main < one.main || blocks.window < one.window)) {
    return resource_exhausted("one sequence of " + std::to_string(budget.max_model_len) + " tokens needs " +
                              std::to_string(one.bytes(layout)) + " bytes of KV cache, " + limit.what + " is " +
                              std::to_string(limit.bytes) + "; lower max_model_len or give more");
  }
  if (budget.available_bytes > 0 && blocks.bytes(layout) > budget.available_bytes) {
    return resource_exhausted("a KV cache of " + std::to_string(blocks.main) + " blocks, and " +
                              std::to_string(blocks.window) + " for layers with a window, needs " +
                              std::to_string(blocks.bytes(layout)) + " bytes, " +
                              std::to_string(budget.available_bytes) + " are available");
  }
  return {};
}

}  // namespace

KvLayout cache_layout(const ModelConfig& config, const BootOptions& options, DType type) {
  KvLayout layout = kv_layout_of(config, type, options.block_size);
  const bool wanted = !options.disable_hybrid_kv_cache_manager && options.free_window_blocks;
  const bool blocks_stay = options.elastic_bytes == 0 && options.exchange == "two-all-to-alls";
  layout.grouped = wanted && blocks_stay && layout.has_window();
  return layout;
}

std::int64_t sequence_bytes(const KvLayout& layout, std::int64_t positions, std::int32_t max_num_batched_tokens) {
  KvBlocks one;
  one.main = blocks_for(positions, layout.block_size);
  if (layout.grouped) {
    const std::int32_t window = layout.window(KvGroup::kWindow);
    one.window = std::min<std::int64_t>(one.main, most_in_window(window, max_num_batched_tokens, layout.block_size));
  }
  const std::int64_t each = std::max<std::int64_t>(layout.block_bytes(), 1);
  if (one.main > std::numeric_limits<std::int64_t>::max() / each) {
    return std::numeric_limits<std::int64_t>::max() / each * each;
  }
  return one.bytes(layout);
}

Result<KvBlocks> choose_kv_blocks(const KvBudget& budget, const KvLayout& layout, const WindowBudget& w) {
  if (!layout.grouped) {
    ASSIGN_OR_RETURN(const std::int64_t blocks, choose_num_blocks(budget));
    return KvBlocks{.main = blocks, .window = 0};
  }
  Wants wants;
  wants.one = blocks_for(budget.max_model_len, layout.block_size);
  wants.one_window =
      std::min<std::int64_t>(wants.one, most_in_window(layout.window(KvGroup::kWindow), w.rows, layout.block_size));
  wants.window = std::max(wants.one_window, window_blocks_wanted(layout, w));
  const std::int64_t all = wants.one * std::max(budget.max_num_seqs, 1);
  const bool main_has_layers = layout.block_bytes(KvGroup::kMain) > 0;
  const KvLimit limit = kv_limit(budget);
  constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
  KvBlocks blocks{all, wants.window};
  if (budget.num_blocks > 0) {
    const std::int64_t asked = std::min(budget.num_blocks, kMost);
    blocks = {asked, main_has_layers ? std::min(asked, wants.window) : asked};
  } else if (limit.bytes > 0) {
    blocks = divide(limit.bytes, layout, wants);
    if (budget.kv_cache_bytes == 0) blocks = {std::min(blocks.main, all), std::min(blocks.window, wants.window)};
  }
  blocks.main = std::min(blocks.main, kMost);
  blocks.window = std::min(main_has_layers ? std::min(blocks.window, blocks.main) : blocks.window, kMost);
  RETURN_IF_ERROR(check_blocks(budget, layout, wants, limit, blocks));
  if (!main_has_layers) blocks.main = std::max(wants.one, std::min(all, kMostWithoutMemory));
  return blocks;
}

}  // namespace foregate
