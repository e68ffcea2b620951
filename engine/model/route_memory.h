// Which experts the last row of each sequence used, layer by layer: what its next row will most likely ask for, for
// whoever forms batches. Owned by the transformer, thread of the step; nothing is kept unless somebody asked for it.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/experts/expert_numbers.h"
#include "engine/model/model_config.h"
#include "engine/model/step.h"

namespace foregate {

class RouteMemory {
 public:
  static constexpr std::size_t kMostRequests = 4096;  // remembered; of more, those of the last step are

  explicit RouteMemory(const ModelConfig& config);
  // After the layer was routed, on the host. Samples of one request share a place: the last one counts.
  void note(const Step& step, LayerId id);
  // [sparse layers * top_k] numbers of experts (ExpertNumbers), by layer; empty when nothing is known.
  std::span<const std::int32_t> of(std::uint64_t request) const;
  ExpertKey key(std::int32_t number) const { return keys_[static_cast<std::size_t>(number)]; }

 private:
  struct Last {
    std::int64_t step = -1;
    std::vector<std::int32_t> experts;
  };
  ExpertNumbers numbers_;
  std::vector<ExpertKey> keys_;                       // by number
  std::unordered_map<std::uint64_t, Last> requests_;  // by request
  std::int64_t step_ = -1;
};

}  // namespace foregate
