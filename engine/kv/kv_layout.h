// What each layer keeps per position, and the bytes of one block over all layers. Plain data made
// by the model, used by the pool and the cache. New kinds (latent, ring, recurrent slots) go here.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/api/args_attention.h"

namespace foregate {

enum class KvKind : std::uint8_t { kFull, kSlidingWindow };

struct LayerKv {
  KvKind kind = KvKind::kFull;
  std::int32_t kv_heads = 0;
  std::int32_t head_dim = 0;
  std::int32_t window = 0;  // positions kept by kSlidingWindow
};

struct KvLayout {
  std::vector<LayerKv> layers;
  DType type = DType::kF32;
  std::int32_t block_size = 16;  // positions in one block

  // Positions that a row sees at most, itself among them; 0: some layer sees all. Blocks before them are of no use to
  // later rows.
  std::int32_t window() const {
    std::int32_t widest = 0;
    for (const LayerKv& layer : layers) {
      if (layer.kind != KvKind::kSlidingWindow) return 0;
      widest = layer.window > widest ? layer.window : widest;
    }
    return widest;
  }
  // Bytes of one block: keys and values of all layers, and the scales of int8.
  std::int64_t block_bytes() const {
    std::int64_t bytes = 0;
    for (const LayerKv& layer : layers) bytes += 2LL * block_size * layer.kv_heads * kv_row_bytes(type, layer.head_dim);
    return bytes;
  }
};

}  // namespace foregate
