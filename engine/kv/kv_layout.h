// What each layer keeps per position and per sequence, which layers share blocks, and the bytes of a block. Plain data
// made by the model, used by the pools and the cache.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels/api/args_attention.h"

namespace foregate {

// kFull and kSlidingWindow: keys and values of each head. kLatent: of multi-head latent attention, one compressed row
// for all heads and one key that carries the position. kIndexer: keys alone, by which a sparse layer chooses what it
// reads. kRecurrent: a state for each sequence whatever its length, nothing per position. No kernel reads the last
// three yet: KvCache refuses them.
enum class KvKind : std::uint8_t { kFull, kSlidingWindow, kLatent, kIndexer, kRecurrent };

// Whose blocks a layer is in. Where the layout is grouped, layers with a window have blocks of their own, which are
// given up as the window moves on; else all layers share the blocks of kMain.
enum class KvGroup : std::uint8_t { kMain, kWindow };

struct LayerKv {
  KvKind kind = KvKind::kFull;
  std::int32_t kv_heads = 0;     // of kIndexer: heads of keys; unused by kLatent and kRecurrent
  std::int32_t head_dim = 0;     // of kLatent: the compressed row
  std::int32_t window = 0;       // positions kept by kSlidingWindow
  std::int32_t rope_dim = 0;     // of kLatent: the key with the position
  std::int64_t state_bytes = 0;  // of kRecurrent: one state, in the type that it is computed in
  std::int32_t snapshots = 0;    // of kRecurrent: states kept beside the newest one, to go back to

  bool windowed() const { return kind == KvKind::kSlidingWindow; }
  std::int64_t position_bytes(DType type) const {
    switch (kind) {
      case KvKind::kFull:
      case KvKind::kSlidingWindow: return 2LL * kv_heads * kv_row_bytes(type, head_dim);
      case KvKind::kLatent: return kv_row_bytes(type, head_dim) + kv_row_bytes(type, rope_dim);
      case KvKind::kIndexer: return std::int64_t{kv_heads} * kv_row_bytes(type, head_dim);
      case KvKind::kRecurrent: return 0;
    }
    return 0;
  }
  // Of one sequence, beside what its positions take.
  std::int64_t sequence_bytes() const { return kind == KvKind::kRecurrent ? state_bytes * (1 + snapshots) : 0; }
};

struct KvLayout {
  std::vector<LayerKv> layers;
  DType type = DType::kF32;
  std::int32_t block_size = 16;  // positions in one block
  bool grouped = false;

  KvGroup group_of(const LayerKv& layer) const {
    return grouped && layer.windowed() ? KvGroup::kWindow : KvGroup::kMain;
  }
  bool has_window() const {
    return std::any_of(layers.begin(), layers.end(), [](const LayerKv& layer) { return layer.windowed(); });
  }
  // Positions that a row sees at most of the blocks of a group, itself among them; 0: all, or the group has no layers.
  // Blocks before them are of no use to later rows.
  std::int32_t window(KvGroup group = KvGroup::kMain) const {
    std::int32_t widest = 0;
    for (const LayerKv& layer : layers) {
      if (group_of(layer) != group) continue;
      if (!layer.windowed()) return 0;
      widest = std::max(widest, layer.window);
    }
    return widest;
  }
  // Bytes of one block: what all layers of the group keep, with the scales of int8.
  std::int64_t block_bytes(KvGroup group) const {
    std::int64_t bytes = 0;
    for (const LayerKv& layer : layers) bytes += group_of(layer) == group ? block_size * layer.position_bytes(type) : 0;
    return bytes;
  }
  // Of both groups together.
  std::int64_t block_bytes() const { return block_bytes(KvGroup::kMain) + block_bytes(KvGroup::kWindow); }
  // Of one sequence, whatever its length.
  std::int64_t sequence_bytes() const {
    std::int64_t bytes = 0;
    for (const LayerKv& layer : layers) bytes += layer.sequence_bytes();
    return bytes;
  }
};

}  // namespace foregate
