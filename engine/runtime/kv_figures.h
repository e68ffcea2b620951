// What the two groups of KV blocks are for the engine: how far its rows reach, which requests can be served at all, and
// the figures. Pure; any thread.
#pragma once

#include <cstdint>

#include "engine/api/engine.h"
#include "engine/kv/kv_cache.h"
#include "engine/kv/kv_pools.h"
#include "engine/runtime/engine_parts.h"

namespace foregate {

// Of a cache whose layout is grouped: its window, and the rows of one sequence in a step, which are few enough for its
// blocks of the window group to be there when nobody else holds any.
KvWindow window_of(const KvCache& cache, const EngineOptions& options);

// What one request may take at most.
struct KvRoom {
  std::int32_t block_size = 1;
  std::int64_t blocks = 0;
  std::int64_t window_blocks = 0;
  KvWindow reach;
};
KvRoom room_of(const EngineParts& parts);
// kInvalidArgument, with the numbers, when so many positions can never be held.
Status check_room_for(const KvRoom& room, const Request& request);

// Blocks of groups without layers are not counted: they take no memory.
void block_figures(const KvPools& pools, const KvLayout& layout, EngineStats& stats);

}  // namespace foregate
