#include "engine/model/store_loader.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <string>

#include "engine/base/log.h"
#include "engine/io/read_queue.h"
#include "engine/model/packed_loader.h"

namespace foregate {
namespace {

constexpr std::size_t kReadDepth = 8;

// Which of the three matrices of its expert an item is, by where its copy would go.
void place_matrix(const WeightItem& item, const PackedUnit& unit, const ExpertWeights& resident, ExpertExtent& extent) {
  const PackedWeight weight{nullptr, item.format, item.rows, item.cols};
  const std::uint64_t offset = item.entry->offset - unit.offset;
  if (item.matrix == &resident.gate) {
    extent.shape.gate = weight;
    extent.gate_offset = offset;
  } else if (item.matrix == &resident.up) {
    extent.shape.up = weight;
    extent.up_offset = offset;
  } else {
    extent.shape.down = weight;
    extent.down_offset = offset;
  }
}

ExpertTable make_table(const ModelConfig& config, const TensorIndex& index, const std::vector<WeightItem>& items,
                       const ModelWeights& weights) {
  const PackedModel& packed = *index.packed();
  ExpertTable table;
  for (const LayerConfig& layer : config.layers) table.experts.push_back(layer.sparse ? config.router.experts : 0);
  const ExpertNumbers numbers(table.experts);
  table.extents.resize(numbers.size());
  for (const WeightItem& item : items) {
    if (item.group != WeightGroup::kExperts) continue;
    const PackedUnit& unit = packed.index().units[static_cast<std::size_t>(item.entry->unit)];
    const ExpertKey key{LayerId{item.layer}, ExpertId{item.expert}};
    ExpertExtent& extent = table.extents[numbers.at(key)];
    extent.file = &packed.file(unit);
    extent.offset = unit.offset;
    extent.bytes = unit.bytes;
    extent.checksum = unit.checksum;
    extent.piece = kPackedPiece;
    place_matrix(item, unit, weights.experts.get(key), extent);
  }
  table.keep = index.share_packed();
  table.top_k = config.router.top_k;
  table.weights_id = packed.index().weights_id();
  return table;
}

}  // namespace

Status load_with_store(const ModelConfig& config, const TensorIndex& index, const std::vector<WeightItem>& items,
                       Device& device, const UnitReadOptions& options, const StoreOptions& experts,
                       const ReadProgress& progress, ModelWeights& weights) {
  const auto of_expert = [](const WeightItem& item) { return item.group == WeightGroup::kExperts; };
  if (index.packed() == nullptr) {
    return invalid_argument("only a packed model can leave experts on disk: run `foregate pack MODEL OUT` first",
                            "expert_memory");
  }
  if (std::none_of(items.begin(), items.end(), of_expert)) {
    return invalid_argument("the model has no experts", "expert_memory");
  }
  std::vector<WeightItem> dense;
  std::copy_if(items.begin(), items.end(), std::back_inserter(dense), std::not_fn(of_expert));
  RETURN_IF_ERROR(load_packed(*index.packed(), dense, device, options, progress, weights));
  StoreOptions store = experts;
  store.transfer.verify = options.verify;
  std::string why_not;
  std::unique_ptr<ReadQueue> queue = make_read_queue(kReadDepth, why_not);
  if (!why_not.empty()) log_warn("experts are read by threads: " + why_not);
  ASSIGN_OR_RETURN(weights.store,
                   ExpertStore::create(make_table(config, index, items, weights), store, device, std::move(queue)));
  return {};
}

}  // namespace foregate
