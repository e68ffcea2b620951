#include "engine/model/weight_loader.h"

#include <algorithm>
#include <vector>

#include "engine/base/log.h"
#include "engine/model/dense_loader.h"
#include "engine/model/device_weights.h"
#include "engine/model/packed_loader.h"
#include "engine/model/tier_loader.h"
#include "engine/model/weight_packer.h"
#include "engine/model/weight_plan.h"

namespace foregate {
namespace {

constexpr std::int64_t kAlignment = 64;

std::int64_t aligned_bytes(const WeightItem& item) {
  return (packed_bytes(item.format, item.rows, item.cols) + kAlignment - 1) / kAlignment * kAlignment;
}

class Loader {
 public:
  Loader(const TensorIndex& index, const OpTable& ops, Stream& stream, const WeightProgress& progress)
      : packer_(index, ops, stream), progress_(progress) {}

  Status load(const std::vector<WeightItem>& items, Device& device, ModelWeights& weights);

 private:
  Status pack(const WeightItem& item, std::byte* packed);

  WeightPacker packer_;
  const WeightProgress& progress_;
  std::uint64_t done_bytes_ = 0;
  std::uint64_t total_bytes_ = 0;
};

// Pieces are packed one after another, so the source is never held whole.
Status Loader::pack(const WeightItem& item, std::byte* packed) {
  for (std::int64_t row = 0; row < item.rows;) {
    ASSIGN_OR_RETURN(const std::int64_t rows,
                     packer_.pack(item, row, packed + packed_bytes(item.format, row, item.cols)));
    row += rows;
    const auto done = done_bytes_ + static_cast<std::uint64_t>(source_bytes(item, row));
    if (progress_) progress_(done, total_bytes_);
  }
  done_bytes_ += static_cast<std::uint64_t>(source_bytes(item));
  if (item.matrix != nullptr) *item.matrix = PackedWeight{packed, item.format, item.rows, item.cols};
  // A packed f32 matrix of one column is the plain vector, padded with zeros (quant.h).
  if (item.vector != nullptr) *item.vector = reinterpret_cast<const float*>(packed);
  return {};
}

// One allocation per layer, one for what lies outside the layers.
Status Loader::load(const std::vector<WeightItem>& items, Device& device, ModelWeights& weights) {
  std::vector<const WeightItem*> order;
  for (const WeightItem& item : items) {
    total_bytes_ += static_cast<std::uint64_t>(source_bytes(item));
    order.push_back(&item);
  }
  packer_.begin(order);
  for (std::size_t first = 0; first < items.size();) {
    std::size_t last = first;
    std::int64_t bytes = 0;
    while (last < items.size() && items[last].layer == items[first].layer) bytes += aligned_bytes(items[last++]);
    Memory memory = device.allocate(static_cast<std::size_t>(bytes));
    if (!memory) return resource_exhausted("no memory for " + std::to_string(bytes) + " bytes of weights");
    std::byte* packed = memory.data();
    weights.memory.push_back(std::move(memory));
    for (; first < last; ++first) {
      RETURN_IF_ERROR(pack(items[first], packed));
      packed += aligned_bytes(items[first]);
    }
  }
  if (const std::string note = packer_.rounding_note(); !note.empty()) log_warn(note);
  weights.how_loaded = "packed while loading, " + packer_.reading_note();
  return {};
}

}  // namespace

void count_step_bytes(const ModelConfig& config, const std::vector<WeightItem>& items, ModelWeights& weights) {
  weights.expert_bytes.assign(config.layers.size(), 0);
  for (const WeightItem& item : items) {
    const std::int64_t bytes = packed_bytes(item.format, item.rows, item.cols);
    if (item.group == WeightGroup::kExperts) {
      weights.expert_bytes[static_cast<std::size_t>(item.layer)] += bytes;
    } else if (item.group != WeightGroup::kEmbedding || config.tied_embeddings) {
      weights.dense_step_bytes += bytes;
    }
  }
  for (std::int64_t& bytes : weights.expert_bytes) bytes /= std::max(config.router.experts, 1);
}

Result<std::unique_ptr<ModelWeights>> load_weights(const ModelConfig& config, const TensorIndex& index, Device& device,
                                                   const OpTable& ops, Stream& stream, const WeightPlanOptions& options,
                                                   const WeightProgress& progress, bool verify,
                                                   const ExpertLoading* experts, const DenseLoading* dense,
                                                   const DeviceTarget* target, const WeightFilter& wanted) {
  auto weights = std::make_unique<ModelWeights>();
  ASSIGN_OR_RETURN(const auto items, plan_weights(config, index, options, *weights));
  DensePlan window;
  if (dense != nullptr) {
    ASSIGN_OR_RETURN(window, plan_dense(index, config.layers.size(), dense->budget_bytes));
  }
  std::vector<WeightItem> now;
  std::vector<WeightItem> later;
  std::vector<WeightItem> streamed;
  for (const WeightItem& item : items) {
    if (wanted && !wanted(item)) continue;
    const bool streams = item.layer >= 0 && window.streams(LayerId{item.layer});
    const bool expert = item.group == WeightGroup::kExperts;
    (expert && experts != nullptr ? later : !expert && streams ? streamed : now).push_back(item);
  }
  if (index.packed() != nullptr) {
    RETURN_IF_ERROR(load_packed(*index.packed(), now, device, {.verify = verify}, progress, *weights));
  } else {
    Loader loader(index, ops, stream, progress);
    RETURN_IF_ERROR(loader.load(now, device, *weights));
  }
  count_step_bytes(config, items, *weights);
  if (target != nullptr) RETURN_IF_ERROR(move_weights(now, *target, *weights));
  if (experts != nullptr) {
    RETURN_IF_ERROR(make_store(config, index, later, device, ops, stream, *experts, progress, *weights));
    if (experts->tier && target != nullptr) RETURN_IF_ERROR(make_tier(*experts, *target, *weights));
  }
  if (!streamed.empty()) RETURN_IF_ERROR(make_dense_window(index, streamed, window, *dense, device, *weights));
  if (config.tied_embeddings && weights->lm_head.data == nullptr) weights->lm_head = weights->embedding;
  return weights;
}

}  // namespace foregate
