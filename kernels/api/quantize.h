// Rows of floats to rows of GGUF blocks: load-time quantization. Scales are chosen to make the squared error
// small, by a short search around the plain choice; the result depends on the row alone. Pure; any thread.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/api/dtype.h"

namespace foregate {

// Writes dtype_row_bytes(type, cols) bytes. `type` is a block type and cols a multiple of its block. A value
// that is not finite makes its block's scale NaN, so that it shows.
void quantize_row(DType type, const float* x, std::int64_t cols, std::byte* row);

}  // namespace foregate
