// Numbers the experts of all layers from 0, in key order, so that tables over them are plain vectors. Const after
// construction.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/experts/expert_key.h"
#include "kernels/api/check.h"

namespace foregate {

class ExpertNumbers {
 public:
  explicit ExpertNumbers(std::span<const std::int32_t> experts_of_layers) {
    for (const std::int32_t experts : experts_of_layers) {
      first_.push_back(size_);
      size_ += static_cast<std::size_t>(experts);
    }
    first_.push_back(size_);
  }
  std::size_t size() const { return size_; }
  std::int32_t layers() const { return static_cast<std::int32_t>(first_.size()) - 1; }
  std::int32_t experts(LayerId layer) const {
    const auto at = static_cast<std::size_t>(layer.value);
    CHECK(layer.value >= 0 && at + 1 < first_.size());
    return static_cast<std::int32_t>(first_[at + 1] - first_[at]);
  }
  std::size_t first(LayerId layer) const { return first_[static_cast<std::size_t>(layer.value)]; }
  std::size_t at(ExpertKey key) const {
    CHECK(key.expert.value >= 0 && key.expert.value < experts(key.layer));
    return first(key.layer) + static_cast<std::size_t>(key.expert.value);
  }

 private:
  std::vector<std::size_t> first_;  // of each layer, and the end
  std::size_t size_ = 0;
};

}  // namespace foregate
