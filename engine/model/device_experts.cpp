#include "engine/model/device_experts.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

namespace foregate {
namespace {

bool one_kind(const ResidentExperts& experts, LayerId layer) {
  const ExpertWeights& first = experts.get({layer, ExpertId{0}});
  if (first.gate.format != first.up.format) return false;
  for (std::int32_t e = 1; e < experts.experts(layer); ++e) {
    const ExpertWeights& here = experts.get({layer, ExpertId{e}});
    if (here.gate.format != first.gate.format || here.up.format != first.gate.format) return false;
    if (here.down.format != first.down.format || here.gate.rows != first.gate.rows) return false;
  }
  return true;
}

}  // namespace

Status make_device_experts(const ModelConfig& config, Device& device, Stream& stream, ModelWeights& weights) {
  std::vector<const std::byte*> pointers;
  weights.device_experts.assign(config.layers.size(), {});
  for (std::size_t i = 0; i < config.layers.size(); ++i) {
    const LayerId layer{static_cast<std::int32_t>(i)};
    const std::int32_t count = config.layers[i].sparse ? weights.experts.experts(layer) : 0;
    if (count == 0 || !one_kind(weights.experts, layer)) continue;
    const ExpertWeights& first = weights.experts.get({layer, ExpertId{0}});
    DeviceExperts& table = weights.device_experts[i];
    table.experts = count;
    table.inner = first.gate.rows;
    table.gate_format = first.gate.format;
    table.down_format = first.down.format;
    for (const PackedWeight ExpertWeights::*part : {&ExpertWeights::gate, &ExpertWeights::up, &ExpertWeights::down}) {
      for (std::int32_t e = 0; e < count; ++e) {
        pointers.push_back((weights.experts.get({layer, ExpertId{e}}).*part).data);
      }
    }
  }
  if (pointers.empty()) return {};
  const std::size_t bytes = pointers.size() * sizeof(pointers[0]);
  Memory memory = device.allocate(bytes);
  if (!memory) return resource_exhausted("no device memory for " + std::to_string(bytes) + " bytes of expert tables");
  stream.upload(memory.data(), pointers.data(), bytes);
  stream.synchronize();
  auto* at = reinterpret_cast<const std::byte* const*>(memory.data());
  for (DeviceExperts& table : weights.device_experts) {
    if (table.experts == 0) continue;
    for (auto* part : {&table.gate, &table.up, &table.down}) {
      *part = at;
      at += table.experts;
    }
  }
  weights.memory.push_back(std::move(memory));
  return {};
}

}  // namespace foregate
