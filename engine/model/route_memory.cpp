#include "engine/model/route_memory.h"

namespace foregate {
namespace {

std::vector<std::int32_t> experts_of(const ModelConfig& config) {
  std::vector<std::int32_t> experts;
  for (const LayerConfig& layer : config.layers) experts.push_back(layer.sparse ? config.router.experts : 0);
  return experts;
}

}  // namespace

RouteMemory::RouteMemory(const ModelConfig& config) : numbers_(experts_of(config)) {
  keys_.resize(numbers_.size());
  for (std::int32_t layer = 0; layer < numbers_.layers(); ++layer) {
    for (std::int32_t expert = 0; expert < numbers_.experts(LayerId{layer}); ++expert) {
      const ExpertKey key{LayerId{layer}, ExpertId{expert}};
      keys_[numbers_.at(key)] = key;
    }
  }
}

void RouteMemory::note(const Step& step, LayerId id) {
  if (step.input.requests.empty()) return;
  if (step.number != step_) {
    step_ = step.number;
    if (requests_.size() > kMostRequests) {
      std::erase_if(requests_, [this](const auto& entry) { return entry.second.step != step_ - 1; });
    }
  }
  const std::int64_t top_k = step.config.router.top_k;
  for (std::size_t s = 0; s < step.input.seqs.size(); ++s) {
    const SeqSpan& seq = step.input.seqs[s];
    Last& last = requests_[step.input.requests[s]];
    if (last.step != step_) last.experts.clear();
    last.step = step_;
    const std::int32_t* ids = step.scratch.route.host_ids + (seq.first_row + seq.rows - 1 - step.drafted(s)) * top_k;
    for (std::int64_t i = 0; i < top_k; ++i) {
      last.experts.push_back(static_cast<std::int32_t>(numbers_.at({id, ExpertId{ids[i]}})));
    }
  }
}

std::span<const std::int32_t> RouteMemory::of(std::uint64_t request) const {
  const auto found = requests_.find(request);
  return found == requests_.end() ? std::span<const std::int32_t>() : found->second.experts;
}

}  // namespace foregate
