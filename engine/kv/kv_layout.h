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

  // Bytes of one block: keys and values of all layers.
  std::int64_t block_bytes() const {
    std::int64_t bytes = 0;
    for (const LayerKv& layer : layers) bytes += 2LL * block_size * layer.kv_heads * kv_row_bytes(type, layer.head_dim);
    return bytes;
  }
};

}  // namespace foregate
