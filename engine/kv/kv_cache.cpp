#include "engine/kv/kv_cache.h"

#include <cstring>
#include <numeric>

namespace foregate {
namespace {

Status check_kinds(const KvLayout& layout) {
  for (const LayerKv& layer : layout.layers) {
    if (layer.kind == KvKind::kFull || layer.kind == KvKind::kSlidingWindow) continue;
    return unimplemented("no kernel reads this kind of keys and values yet");
  }
  return {};
}

}  // namespace

Result<KvCache> KvCache::create(Device& device, const KvLayout& layout, std::int64_t num_blocks,
                                std::int64_t num_window_blocks) {
  if (layout.type == DType::kI8 && !device.host_visible()) {
    return unimplemented("keys and values in int8 are for the CPU", "kv_cache_dtype");
  }
  RETURN_IF_ERROR(check_kinds(layout));
  KvCache cache;
  cache.device_ = &device;
  cache.layout_ = layout;
  cache.num_blocks_ = num_blocks;
  cache.num_window_blocks_ = layout.grouped ? num_window_blocks : 0;
  cache.versions_.resize(static_cast<std::size_t>(num_blocks));
  for (std::size_t layer = 0; layer < layout.layers.size(); ++layer) {
    const auto parts = cache.part_bytes(layer);
    const std::size_t block = std::accumulate(parts.begin(), parts.end(), std::size_t{0});
    const std::int64_t blocks = cache.num_blocks(layout.group_of(layout.layers[layer]));
    Memory memory = device.allocate(block * static_cast<std::size_t>(blocks));
    if (!memory) {
      const std::int64_t bytes = num_blocks * layout.block_bytes(KvGroup::kMain) +
                                 cache.num_window_blocks_ * layout.block_bytes(KvGroup::kWindow);
      return resource_exhausted("no memory for a KV cache of " + std::to_string(num_blocks) + " blocks, " +
                                std::to_string(bytes) + " bytes");
    }
    cache.layers_.push_back(std::move(memory));
  }
  return cache;
}

std::int32_t KvCache::unit_blocks(const KvLayout& layout, std::size_t page_bytes) {
  std::size_t unit = 1;
  for (std::size_t layer = 0; layer < layout.layers.size(); ++layer) {
    for (const std::size_t bytes : part_bytes(layout, layer)) {
      if (bytes > 0) unit = std::lcm(unit, page_bytes / std::gcd(page_bytes, bytes));
    }
  }
  return static_cast<std::int32_t>(unit);
}

Result<KvCache> KvCache::create_elastic(Device& device, PageSource& pages, const KvLayout& layout,
                                        std::int64_t num_blocks) {
  RETURN_IF_ERROR(check_kinds(layout));
  if (layout.grouped) return internal_error("blocks that come and go are not in groups");
  KvCache cache;
  cache.device_ = &device;
  cache.layout_ = layout;
  cache.num_blocks_ = num_blocks;
  cache.versions_.resize(static_cast<std::size_t>(num_blocks));
  cache.pages_ = &pages;
  cache.unit_blocks_ = unit_blocks(layout, pages.page_bytes());
  if (num_blocks % cache.unit_blocks_ != 0) return internal_error("the blocks of the cache are not whole units");
  const auto units = static_cast<std::size_t>(num_blocks / cache.unit_blocks_);
  for (std::size_t layer = 0; layer < layout.layers.size(); ++layer) {
    const auto parts = cache.part_bytes(layer);
    const std::size_t block = std::accumulate(parts.begin(), parts.end(), std::size_t{0});
    // Of a unit each part lies elsewhere, so it is not one piece.
    const std::size_t piece = pages.page_bytes();
    Memory memory = pages.reserve(units * (block * static_cast<std::size_t>(cache.unit_blocks_) / piece), piece);
    if (!memory) {
      return resource_exhausted("no addresses for a KV cache of " + std::to_string(num_blocks) + " blocks, " +
                                std::to_string(num_blocks * layout.block_bytes()) + " bytes");
    }
    cache.layers_.push_back(std::move(memory));
  }
  return cache;
}

bool KvCache::take(BlockId first, std::int32_t blocks) {
  CHECK(pages_ != nullptr && first.value % unit_blocks_ == 0 && blocks % unit_blocks_ == 0);
  CHECK(first.value >= 0 && first.value + blocks <= num_blocks_);
  std::vector<Piece> taken;
  for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
    for (const Piece& one : pieces(layer, first)) {
      const Piece piece{one.data, one.bytes * static_cast<std::size_t>(blocks)};
      if (piece.bytes == 0) continue;
      if (pages_->take(piece.data, piece.bytes)) {
        taken.push_back(piece);
        continue;
      }
      for (const Piece& back : taken) pages_->give_back(back.data, back.bytes);
      return false;
    }
  }
  return true;
}

void KvCache::give_back(BlockId first, std::int32_t blocks) {
  CHECK(pages_ != nullptr && first.value % unit_blocks_ == 0 && blocks % unit_blocks_ == 0);
  CHECK(first.value >= 0 && first.value + blocks <= num_blocks_);
  for (std::int32_t b = 0; b < blocks; ++b) changed(BlockId{first.value + b});
  for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
    for (const Piece& piece : pieces(layer, first)) {
      if (piece.bytes > 0) pages_->give_back(piece.data, piece.bytes * static_cast<std::size_t>(blocks));
    }
  }
}

std::array<std::size_t, KvCache::kParts> KvCache::part_bytes(const KvLayout& layout, std::size_t layer) {
  const LayerKv& kv = layout.layers[layer];
  const std::int64_t rows = std::int64_t{layout.block_size} * kv.kv_heads;
  const std::int64_t elements = rows * kv.head_dim * dtype_bytes(layout.type);
  const std::int64_t scales = rows * kv_row_bytes(layout.type, kv.head_dim) - elements;
  const auto bytes = [](std::int64_t count) { return static_cast<std::size_t>(count); };
  return {bytes(scales), bytes(scales), bytes(elements), bytes(elements)};
}

KvPages KvCache::pages(LayerId layer) const {
  const auto number = static_cast<std::size_t>(layer.value);
  const LayerKv& kv = layout_.layers[number];
  KvPages pages;
  pages.type = layout_.type;
  pages.num_blocks = num_blocks(layout_.group_of(kv));
  pages.block_size = layout_.block_size;
  pages.kv_heads = kv.kv_heads;
  pages.head_dim = kv.head_dim;
  if (pages.num_blocks == 0) return pages;
  const auto parts = pieces(number, BlockId{0});
  pages.k = parts[kKeys].data;
  pages.v = parts[kValues].data;
  if (parts[kKeyScales].bytes == 0) return pages;
  pages.k_scales = reinterpret_cast<float*>(parts[kKeyScales].data);
  pages.v_scales = reinterpret_cast<float*>(parts[kValueScales].data);
  return pages;
}

std::array<KvCache::Piece, KvCache::kParts> KvCache::pieces(std::size_t layer, BlockId block) const {
  const std::int64_t blocks = num_blocks(layout_.group_of(layout_.layers[layer]));
  CHECK(block.value >= 0 && block.value < blocks);
  std::byte* part = layers_[layer].data();
  std::array<Piece, kParts> found{};
  const auto bytes = part_bytes(layer);
  for (std::size_t i = 0; i < kParts; ++i) {
    found[i] = {part + bytes[i] * static_cast<std::size_t>(block.value), bytes[i]};
    part += bytes[i] * static_cast<std::size_t>(blocks);
  }
  return found;
}

void KvCache::copy(std::byte* to, const std::byte* from, std::size_t bytes) const {
  if (bytes > 0) device_->copy(to, from, bytes);
}

void KvCache::copy_block(BlockId from, BlockId to, KvGroup group) {
  if (BUG_IF(from == to)) return;
  changed(to, group);
  for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
    if (!in_group(layer, group)) continue;
    const auto source = pieces(layer, from);
    const auto target = pieces(layer, to);
    for (std::size_t i = 0; i < kParts; ++i) copy(target[i].data, source[i].data, source[i].bytes);
  }
}

void KvCache::zero_block(BlockId block, KvGroup group) {
  changed(block, group);
  for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
    if (!in_group(layer, group)) continue;
    for (const Piece& piece : pieces(layer, block)) {
      const std::vector<std::byte> zeros(piece.bytes);
      copy(piece.data, zeros.data(), zeros.size());
    }
  }
}

// By way of the host: rare, and keys of one position lie apart.
void KvCache::zero_positions(BlockId block, std::int32_t first, std::int32_t end, KvGroup group) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(layout_.block_bytes(group)));
  save_block(block, bytes.data(), group);
  std::byte* at = bytes.data();
  for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
    if (!in_group(layer, group)) continue;
    KvPages pages = this->pages(LayerId{static_cast<std::int32_t>(layer)});
    pages.num_blocks = 1;
    const auto element = static_cast<std::size_t>(dtype_bytes(pages.type));
    std::array<std::byte*, kParts> parts{};
    const auto sizes = part_bytes(layer);
    for (std::size_t i = 0; i < kParts; at += sizes[i++]) parts[i] = at;
    const auto clear = [&](Part part, std::int64_t index, std::size_t size) {
      if (sizes[part] > 0) std::memset(parts[part] + static_cast<std::size_t>(index) * size, 0, size);
    };
    for (std::int32_t p = first; p < end; ++p) {
      for (std::int32_t h = 0; h < pages.kv_heads; ++h) {
        clear(kKeyScales, scale_index(pages, 0, h, p), sizeof(float));
        clear(kValueScales, scale_index(pages, 0, h, p), sizeof(float));
        for (std::int32_t d = 0; d < pages.head_dim; ++d) {
          clear(kKeys, key_index(pages, 0, h, p) + d * key_step(pages, p), element);
          clear(kValues, value_index(pages, 0, h, p) + d, element);
        }
      }
    }
  }
  load_block(block, bytes.data(), group);
}

void KvCache::copy_position(BlockId from, std::int32_t from_place, BlockId to, std::int32_t to_place, KvGroup group) {
  CHECK(device_->host_visible());
  changed(to, group);
  for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
    if (!in_group(layer, group)) continue;
    const KvPages pages = this->pages(LayerId{static_cast<std::int32_t>(layer)});
    const auto element = static_cast<std::size_t>(dtype_bytes(pages.type));
    const auto move = [](void* base, std::int64_t target, std::int64_t source, std::size_t size, std::size_t count) {
      auto* bytes = static_cast<std::byte*>(base);
      std::memcpy(bytes + static_cast<std::size_t>(target) * size, bytes + static_cast<std::size_t>(source) * size,
                  size * count);
    };
    for (std::int32_t h = 0; h < pages.kv_heads; ++h) {
      const std::int64_t source = key_index(pages, from.value, h, from_place);
      const std::int64_t target = key_index(pages, to.value, h, to_place);
      for (std::int32_t d = 0; d < pages.head_dim; ++d) {
        move(pages.k, target + d * key_step(pages, to_place), source + d * key_step(pages, from_place), element, 1);
      }
      move(pages.v, value_index(pages, to.value, h, to_place), value_index(pages, from.value, h, from_place), element,
           static_cast<std::size_t>(pages.head_dim));
      if (pages.k_scales == nullptr) continue;
      const std::int64_t from_scale = scale_index(pages, from.value, h, from_place);
      const std::int64_t to_scale = scale_index(pages, to.value, h, to_place);
      pages.k_scales[to_scale] = pages.k_scales[from_scale];
      pages.v_scales[to_scale] = pages.v_scales[from_scale];
    }
  }
}

void KvCache::save_block(BlockId block, std::byte* to, KvGroup group) const {
  for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
    if (!in_group(layer, group)) continue;
    for (const Piece& piece : pieces(layer, block)) {
      copy(to, piece.data, piece.bytes);
      to += piece.bytes;
    }
  }
}

void KvCache::load_block(BlockId block, const std::byte* from, KvGroup group) {
  changed(block, group);
  for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
    if (!in_group(layer, group)) continue;
    for (const Piece& piece : pieces(layer, block)) {
      copy(piece.data, from, piece.bytes);
      from += piece.bytes;
    }
  }
}

}  // namespace foregate
