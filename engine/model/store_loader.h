// Puts the experts of a model into a store instead of memory: the table of where each lies comes from the plan, nothing
// of them is read here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/experts/device_tier.h"
#include "engine/experts/expert_store.h"
#include "engine/experts/pinned_memory.h"
#include "engine/model/model_config.h"
#include "engine/model/model_weights.h"
#include "engine/model/weight_plan.h"
#include "kernels/api/device.h"
#include "kernels/api/op_table.h"

namespace foregate {

// Reads of chunks that a store has in flight. Of 8, a disk ended none until 4 ms had gone and then all, and their
// checksums and products came after it; 3 keep the disk as busy, and the first expert is there after a third of the
// time.
inline constexpr std::size_t kExpertReadDepth = 3;
// Of prompts, where others are computed meanwhile, and of layers in a window, which are read ahead.
inline constexpr std::size_t kStreamReadDepth = 8;

// Called while loading, with bytes read so far and in all.
using WeightProgress = std::function<void(std::uint64_t done_bytes, std::uint64_t total_bytes)>;

// How the costs of experts are come by (cost_keeper.h).
struct CostLoading {
  std::string machine;                                     // CostEntry::machine
  std::uint64_t scratch_bytes = std::uint64_t{128} << 20;  // to measure with, and no more than the store's budget
  double read_seconds = 1.0;
};

struct ExpertLoading {
  StoreOptions store;
  // Take the costs of reads and kernels from `counters_dir`, or measure them and leave them there. None: do without.
  // Only of packed models.
  std::optional<CostLoading> costs = {};
  // Runs ops on the store's own thread, to convert experts of a model that is not packed; must outlive the model. Null:
  // such a model is refused.
  Stream* background = nullptr;
  // Fill the slots while loading, by the counters that an earlier run left in `counters_dir`, and leave those of this
  // run there. The model computes the same without. No counters are kept when the directory is empty or cannot be
  // written.
  bool warm = true;
  std::string counters_dir = {};
  bool leave_counters = true;  // false: they are read, and those of this run kept to itself
  // Slots on the device in front of the store, whose own are host memory then.
  std::optional<DeviceTierOptions> tier = {};
  PinnedMemory* memory = nullptr;  // of the store's slots, with a tier; null: the loading device's
  std::function<std::unique_ptr<ReadQueue>()> queue = {};  // empty: make_read_queue()
};

// Keeps counters of uses for the next run, where `loading` asks for that; else empty.
std::function<void(const UseCounters&)> counters_saver(const ExpertLoading& loading, std::uint64_t weights_id);

// Dense weights of layers that pass through a window (dense_window.h).
struct DenseLoading {
  std::uint64_t budget_bytes = 0;
  bool verify = true;                                      // compare checksums of what is read while serving
  std::function<std::unique_ptr<ReadQueue>()> queue = {};  // of a model without a store; empty: make_read_queue()
};

// `experts`: the items of the plan that belong to experts. Sets weights.store. kInvalidArgument (field expert_memory)
// when there are none, or when the model cannot be left on disk; else as ExpertStore::create() fails.
Status make_store(const ModelConfig& config, const TensorIndex& index, const std::vector<WeightItem>& experts,
                  Device& device, const OpTable& ops, Stream& stream, const ExpertLoading& loading,
                  const WeightProgress& progress, ModelWeights& weights);

}  // namespace foregate
