// Run: calls the model on one step and owns the memory its logits go to. Whatever goes wrong inside
// the model comes back as a Status. Engine thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "engine/base/status.h"
#include "engine/kv/kv_cache.h"
#include "engine/model/model.h"
#include "engine/runtime/step_io.h"
#include "kernels/api/device.h"

namespace foregate {

class StepRunner {
 public:
  StepRunner(std::unique_ptr<Model> model, Device& device, KvCache cache);
  const Device& device() const { return device_; }
  Status run(StepIo& io);
  std::span<const float> logits(std::int32_t row) const;  // [vocab_size], of the last good run
  std::int32_t vocab_size() const { return vocab_size_; }
  const KvCache& cache() const { return cache_; }
  KvCache& cache() { return cache_; }
  Model& model() { return *model_; }
  const Model& model() const { return *model_; }

 private:
  Status make_room(std::size_t rows);
  std::unique_ptr<Model> model_;
  Device& device_;
  KvCache cache_;
  std::int32_t vocab_size_;
  Memory logits_;
};

}  // namespace foregate
