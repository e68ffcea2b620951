#include "engine/kv/kv_cache.h"

#include <cstring>

namespace foregate {

Result<KvCache> KvCache::create(Device& device, const KvLayout& layout, std::int64_t num_blocks) {
  KvCache cache;
  cache.device_ = &device;
  cache.layout_ = layout;
  cache.num_blocks_ = num_blocks;
  for (const LayerKv& layer : layout.layers) {
    const std::int64_t bytes =
        2 * num_blocks * layout.block_size * layer.kv_heads * layer.head_dim * dtype_bytes(layout.type);
    Memory memory = device.allocate(static_cast<std::size_t>(bytes));
    if (!memory) {
      return resource_exhausted("no memory for a KV cache of " + std::to_string(num_blocks) + " blocks, " +
                                std::to_string(num_blocks * layout.block_bytes()) + " bytes");
    }
    cache.layers_.push_back(std::move(memory));
  }
  return cache;
}

KvPages KvCache::pages(LayerId layer) const {
  const LayerKv& kv = layout_.layers[static_cast<std::size_t>(layer.value)];
  const Memory& memory = layers_[static_cast<std::size_t>(layer.value)];
  KvPages pages;
  pages.k = memory.data();
  pages.v = memory.data() + memory.bytes() / 2;
  pages.type = layout_.type;
  pages.num_blocks = num_blocks_;
  pages.block_size = layout_.block_size;
  pages.kv_heads = kv.kv_heads;
  pages.head_dim = kv.head_dim;
  return pages;
}

KvCache::Piece KvCache::piece(std::size_t layer, BlockId block) const {
  CHECK(block.value >= 0 && block.value < num_blocks_);
  const Memory& memory = layers_[layer];
  const std::size_t half = memory.bytes() / 2;
  const std::size_t bytes = half / static_cast<std::size_t>(num_blocks_);
  std::byte* keys = memory.data() + bytes * static_cast<std::size_t>(block.value);
  return {keys, keys + half, bytes};
}

void KvCache::copy_block(BlockId from, BlockId to) {
  if (BUG_IF(from == to)) return;
  for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
    const Piece source = piece(layer, from);
    const Piece target = piece(layer, to);
    device_->copy(target.keys, source.keys, source.bytes);
    device_->copy(target.values, source.values, source.bytes);
  }
}

void KvCache::zero_block(BlockId block) {
  for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
    const Piece target = piece(layer, block);
    const std::vector<std::byte> zeros(target.bytes);
    device_->copy(target.keys, zeros.data(), zeros.size());
    device_->copy(target.values, zeros.data(), zeros.size());
  }
}

// By way of the host: rare, and keys of one position lie apart.
void KvCache::zero_positions(BlockId block, std::int32_t first, std::int32_t end) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(layout_.block_bytes()));
  save_block(block, bytes.data());
  std::byte* at = bytes.data();
  for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
    KvPages pages = this->pages(LayerId{static_cast<std::int32_t>(layer)});
    pages.num_blocks = 1;
    const auto element = static_cast<std::size_t>(dtype_bytes(pages.type));
    const std::size_t half = piece(layer, block).bytes;
    for (std::int32_t p = first; p < end; ++p) {
      for (std::int32_t h = 0; h < pages.kv_heads; ++h) {
        for (std::int32_t d = 0; d < pages.head_dim; ++d) {
          const auto key = static_cast<std::size_t>(key_index(pages, 0, h, p) + d * key_step(pages, p));
          const auto value = static_cast<std::size_t>(value_index(pages, 0, h, p) + d);
          std::memset(at + key * element, 0, element);
          std::memset(at + half + value * element, 0, element);
        }
      }
    }
    at += 2 * half;
  }
  load_block(block, bytes.data());
}

void KvCache::save_block(BlockId block, std::byte* to) const {
  for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
    const Piece source = piece(layer, block);
    device_->copy(to, source.keys, source.bytes);
    device_->copy(to + source.bytes, source.values, source.bytes);
    to += 2 * source.bytes;
  }
}

void KvCache::load_block(BlockId block, const std::byte* from) {
  for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
    const Piece target = piece(layer, block);
    device_->copy(target.keys, from, target.bytes);
    device_->copy(target.values, from + target.bytes, target.bytes);
    from += 2 * target.bytes;
  }
}

}  // namespace foregate
