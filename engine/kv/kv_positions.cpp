#include "engine/kv/kv_positions.h"

#include <cstring>

namespace foregate {
namespace {

// Calls visit(address, bytes) for every piece, in one order.
template <class Visit>
void each_piece(const KvPages& p, std::int64_t block, std::int64_t position, Visit visit) {
  const auto element = static_cast<std::size_t>(dtype_bytes(p.type));
  auto* const keys = static_cast<std::byte*>(p.k);
  auto* const values = static_cast<std::byte*>(p.v);
  for (std::int64_t head = 0; head < p.kv_heads; ++head) {
    const auto key = static_cast<std::size_t>(key_index(p, block, head, position));
    const auto step = static_cast<std::size_t>(key_step(p, position));
    for (std::size_t d = 0; d < static_cast<std::size_t>(p.head_dim); ++d) {
      visit(keys + (key + d * step) * element, element);
    }
    visit(values + static_cast<std::size_t>(value_index(p, block, head, position)) * element,
          static_cast<std::size_t>(p.head_dim) * element);
    if (p.k_scales == nullptr) continue;
    const std::int64_t scale = scale_index(p, block, head, position);
    visit(reinterpret_cast<std::byte*>(p.k_scales + scale), sizeof(float));
    visit(reinterpret_cast<std::byte*>(p.v_scales + scale), sizeof(float));
  }
}

}  // namespace

std::size_t position_bytes(const KvPages& pages) {
  return static_cast<std::size_t>(2 * pages.kv_heads * kv_row_bytes(pages.type, pages.head_dim));
}

void read_position(const KvPages& pages, std::int64_t block, std::int64_t position, std::byte* bytes) {
  each_piece(pages, block, position, [&bytes](const std::byte* at, std::size_t size) {
    std::memcpy(bytes, at, size);
    bytes += size;
  });
}

void write_position(const KvPages& pages, std::int64_t block, std::int64_t position, const std::byte* bytes) {
  each_piece(pages, block, position, [&bytes](std::byte* at, std::size_t size) {
    std::memcpy(at, bytes, size);
    bytes += size;
  });
}

}  // namespace foregate
