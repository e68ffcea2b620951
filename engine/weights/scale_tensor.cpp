#include "engine/weights/scale_tensor.h"

#include <cstring>

#include "kernels/api/blocks.h"

namespace foregate {

Result<std::vector<float>> read_scale_tensor(const TensorIndex& index, const TensorEntry& entry) {
  std::vector<std::byte> bytes(entry.bytes);
  RETURN_IF_ERROR(index.read(entry, 0, bytes));
  std::vector<float> scales(entry.bytes / static_cast<std::size_t>(dtype_bytes(*entry.dtype)));
  for (std::size_t i = 0; i < scales.size(); ++i) {
    if (*entry.dtype == DType::kF32) {
      std::memcpy(&scales[i], bytes.data() + 4 * i, 4);
      continue;
    }
    std::uint16_t half;
    std::memcpy(&half, bytes.data() + 2 * i, 2);
    scales[i] = *entry.dtype == DType::kF16 ? widen_f16(half) : widen_bf16(half);
  }
  return scales;
}

}  // namespace foregate
