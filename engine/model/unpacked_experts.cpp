#include "engine/model/unpacked_experts.h"

#include <algorithm>

namespace foregate {

UnpackedExperts::UnpackedExperts(const TensorIndex& index, const OpTable& ops, Stream& stream)
    : index_(index), packer_(index_, ops, stream) {}

void UnpackedExperts::add(const WeightItem& item) {
  items_[{LayerId{item.layer}, ExpertId{item.expert}}].push_back(item);
}

std::uint64_t UnpackedExperts::aligned_bytes(const WeightItem& item) {
  constexpr std::uint64_t kAlignment = 64;
  const auto bytes = static_cast<std::uint64_t>(packed_bytes(item.format, item.rows, item.cols));
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

Status UnpackedExperts::fill(ExpertKey key, std::byte* to) {
  for (const WeightItem& item : items_.at(key)) {
    RETURN_IF_ERROR(packer_.open(item));
    const std::int64_t step = packer_.piece_rows();
    for (std::int64_t row = 0; row < item.rows; row += step) {
      const std::int64_t rows = std::min(step, item.rows - row);
      RETURN_IF_ERROR(packer_.pack(row, rows, to + packed_bytes(item.format, row, item.cols)));
    }
    to += aligned_bytes(item);
  }
  return {};
}

}  // namespace foregate
