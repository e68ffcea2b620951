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
  const std::vector<WeightItem>& items = items_.at(key);
  std::vector<const WeightItem*> order;
  for (const WeightItem& item : items) order.push_back(&item);
  packer_.begin(order);
  for (const WeightItem& item : items) {
    for (std::int64_t row = 0; row < item.rows;) {
      ASSIGN_OR_RETURN(const std::int64_t rows,
                       packer_.pack(item, row, to + packed_bytes(item.format, row, item.cols)));
      row += rows;
    }
    to += aligned_bytes(item);
  }
  return {};
}

}  // namespace foregate
