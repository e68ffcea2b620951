// Keys and values of one position of one layer as bytes, for another cache of the same layout: of every head the key,
// the value, and with int8 their scales. Of pages that the host sees.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/api/args_attention.h"

namespace foregate {

std::size_t position_bytes(const KvPages& pages);
// `position` is of the block; `bytes` has position_bytes().
void read_position(const KvPages& pages, std::int64_t block, std::int64_t position, std::byte* bytes);
void write_position(const KvPages& pages, std::int64_t block, std::int64_t position, const std::byte* bytes);

}  // namespace foregate
