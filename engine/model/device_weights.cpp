#include "engine/model/device_weights.h"

#include <cstddef>
#include <functional>
#include <string>
#include <utility>

namespace foregate {
namespace {

bool inside(const Memory& memory, const std::byte* at) {
  const std::less<const std::byte*> before;
  return !before(at, memory.data()) && before(at, memory.data() + memory.bytes());
}

// What of `items` lies in `host` lies at the same distance in `device`.
void point_into(const std::vector<WeightItem>& items, const Memory& host, const Memory& device) {
  for (const WeightItem& item : items) {
    if (item.matrix != nullptr && inside(host, item.matrix->data)) {
      item.matrix->data = device.data() + (item.matrix->data - host.data());
    }
    if (item.vector == nullptr) continue;
    const auto* at = reinterpret_cast<const std::byte*>(*item.vector);
    if (inside(host, at)) *item.vector = reinterpret_cast<const float*>(device.data() + (at - host.data()));
  }
}

}  // namespace

Status move_weights(const std::vector<WeightItem>& items, const DeviceTarget& target, ModelWeights& weights) {
  for (Memory& memory : weights.memory) {
    Memory device = target.device.allocate(memory.bytes());
    if (!device) {
      return resource_exhausted("no device memory for " + std::to_string(memory.bytes()) + " bytes of weights, " +
                                std::to_string(target.device.free_bytes()) + " are free");
    }
    target.stream.upload(device.data(), memory.data(), memory.bytes());
    target.stream.synchronize();
    if (const char* failure = target.stream.failure()) return unavailable(std::string("the device failed: ") + failure);
    point_into(items, memory, device);
    memory = std::move(device);
  }
  weights.how_loaded += ", moved to the device";
  return {};
}

}  // namespace foregate
