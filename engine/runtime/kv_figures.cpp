#include "engine/runtime/kv_figures.h"

#include <algorithm>
#include <string>

#include "engine/sched/sequence.h"

namespace foregate {

KvWindow window_of(const KvCache& cache, const EngineOptions& options) {
  const KvLayout& layout = cache.layout();
  if (!layout.grouped) return {};
  KvWindow window{layout.window(KvGroup::kWindow), options.max_num_batched_tokens};
  const std::int32_t rows = rows_in_window(window.positions, cache.num_blocks(KvGroup::kWindow), layout.block_size,
                                           options.max_num_batched_tokens);
  if (rows > 0) window.rows = rows;  // else only requests fit that have no more blocks than there are
  return window;
}

KvRoom room_of(const EngineParts& parts) {
  KvRoom room;
  room.block_size = parts.cache.layout().block_size;
  room.blocks = parts.elastic.budget_bytes > 0 ? parts.elastic.least_blocks : parts.cache.num_blocks();
  room.window_blocks = parts.cache.num_blocks(KvGroup::kWindow);
  room.reach = window_of(parts.cache, parts.options);
  return room;
}

Status check_room_for(const KvRoom& room, const Request& request) {
  const std::int64_t need = blocks_for(max_positions(request), room.block_size);
  const auto refuse = [&](std::int64_t blocks, std::int64_t there, const char* which) {
    return invalid_argument("the prompt has " + std::to_string(request.prompt.size()) + " tokens and max_tokens is " +
                                std::to_string(request.sampling.max_tokens) + ": that needs " + std::to_string(blocks) +
                                " KV blocks of " + std::to_string(room.block_size) + " positions" + which +
                                ", there are " + std::to_string(there),
                            "max_tokens");
  };
  if (need > room.blocks) return refuse(need, room.blocks, "");
  if (!room.reach.on()) return {};
  const std::int64_t window_need =
      std::min<std::int64_t>(need, most_in_window(room.reach.positions, room.reach.rows, room.block_size));
  return window_need <= room.window_blocks ? Status()
                                           : refuse(window_need, room.window_blocks, " for layers with a window");
}

void block_figures(const KvPools& pools, const KvLayout& layout, EngineStats& stats) {
  stats.kv_blocks_total = stats.kv_blocks_used = 0;
  double total_bytes = 0.0;
  double used_bytes = 0.0;
  const auto add = [&](const BlockPool& pool, KvGroup group) {
    const std::int64_t bytes = layout.block_bytes(group);
    if (bytes == 0) return;
    const std::int64_t used = pool.present_blocks() - pool.free_blocks();
    stats.kv_blocks_total += pool.present_blocks();
    stats.kv_blocks_used += used;
    total_bytes += static_cast<double>(pool.present_blocks() * bytes);
    used_bytes += static_cast<double>(used * bytes);
  };
  add(pools.main, KvGroup::kMain);
  stats.kv_window_blocks_total = pools.grouped() ? pools.window.present_blocks() : 0;
  stats.kv_window_blocks_used = stats.kv_window_blocks_total - pools.window.free_blocks();
  if (pools.grouped()) add(pools.window, KvGroup::kWindow);
  stats.kv_usage = total_bytes > 0 ? used_bytes / total_bytes : 0.0;
}

}  // namespace foregate
