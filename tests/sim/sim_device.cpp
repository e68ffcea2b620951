#include "tests/sim/sim_device.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace foregate::sim {

Memory SimDevice::allocate(std::size_t bytes) {
  if (bytes == 0) return {};
  void* data = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
  if (data == nullptr) return {};
  std::memset(data, 0, bytes);
  return Memory(data, bytes, [](void* p, std::size_t) { std::free(p); });
}

Memory SimDevice::allocate_pinned(std::size_t bytes) {
  if (begun_ && dice_.chance(fails_)) return {};
  const bool swap = bytes % (kVocab * sizeof(float)) != 0;  // the others are rows of logits
  if (overlaps_ && swap && bytes <= sizeof(shared_)) return Memory(shared_, bytes, [](void*, std::size_t) {});
  return allocate(bytes);
}

void SimDrafter::propose(std::span<const DraftAsk> asks, std::span<Draft> drafts) {
  for (std::size_t i = 0; i < asks.size(); ++i) {
    const Client* client = ledger_.of_request(asks[i].request.value);
    if (client == nullptr) continue;
    const Answer& want = client->samples.at(static_cast<std::size_t>(asks[i].index)).want;
    const std::size_t at = asks[i].tokens.size() - client->request.prompt.size();
    const std::int32_t most = ledger_.plant() == Plant::kDraftTooLong ? asks[i].most + 1 : dice_.range(0, asks[i].most);
    for (std::size_t k = at; k < at + static_cast<std::size_t>(most); ++k) {
      const bool known = k < want.tokens.size() && !dice_.chance(errs_);
      drafts[i].tokens.push_back(known ? want.tokens[k] : dice_.range(0, kVocab - 1));
    }
  }
}

}  // namespace foregate::sim
