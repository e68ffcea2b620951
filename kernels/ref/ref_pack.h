// The meaning of the packed layout: blocks moved into it one code at a time. kernels/api/pack_block.cpp is held to it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/api/dtype.h"

namespace foregate::ref {

// As pack_block() of kernels/api/blocks.h.
void pack_block(WeightFormat format, const std::byte* rows, int count, std::int64_t cols, std::byte* packed);

}  // namespace foregate::ref
