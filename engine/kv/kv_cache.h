// The memory behind the block table: one allocation per layer holding the pages of all blocks.
// Owned by the runtime; written only by the model's forward pass on the executor.
#pragma once

#include <memory>
#include <vector>

#include "engine/base/ids.h"
#include "engine/base/status.h"
#include "engine/kv/kv_layout.h"
#include "kernels/api/args_attention.h"
#include "kernels/api/device.h"

namespace foregate {

class KvCache {
 public:
  // kResourceExhausted, with the numbers, when the device has not enough memory.
  static Result<KvCache> create(Device& device, const KvLayout& layout, std::int64_t num_blocks);
  KvPages pages(LayerId layer) const;
  const KvLayout& layout() const { return layout_; }
  std::int64_t num_blocks() const { return num_blocks_; }

 private:
  KvLayout layout_;
  std::int64_t num_blocks_ = 0;
  std::vector<Memory> layers_;
};

}  // namespace foregate
