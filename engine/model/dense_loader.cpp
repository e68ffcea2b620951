#include "engine/model/dense_loader.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "engine/base/log.h"
#include "engine/io/file.h"
#include "engine/io/read_queue.h"
#include "engine/weights/packed_reader.h"

namespace foregate {
namespace {

bool stays(const WeightItem& item) {
  return item.vector != nullptr || item.group == WeightGroup::kRouter;
}

std::uint64_t bytes_of(const WeightItem& item) {
  constexpr std::uint64_t kAlignment = 64;
  const auto bytes = static_cast<std::uint64_t>(packed_bytes(item.format, item.rows, item.cols));
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

// The parts of one unit: what stays is copied out of it, the others are noted.
Status take_unit(const PackedUnit& unit, const std::vector<const WeightItem*>& items, const std::byte* read,
                 Device& device, ModelWeights& weights, DenseLayer& layer) {
  std::uint64_t kept = 0;
  for (const WeightItem* item : items) kept += stays(*item) ? bytes_of(*item) : 0;
  Memory memory = device.allocate(static_cast<std::size_t>(kept));
  if (!memory) return resource_exhausted("no memory for " + std::to_string(kept) + " bytes of weights");
  std::byte* at = memory.data();
  for (const WeightItem* item : items) {
    const std::uint64_t offset = item->entry->offset - unit.offset;
    PackedWeight weight{nullptr, item->format, item->rows, item->cols};
    if (stays(*item)) {
      std::memcpy(at, read + offset, static_cast<std::size_t>(packed_bytes(item->format, item->rows, item->cols)));
      weight.data = at;
      if (item->vector != nullptr) *item->vector = reinterpret_cast<const float*>(at);
      at += bytes_of(*item);
    } else {
      layer.matrices.push_back({item->matrix, offset});
    }
    if (item->matrix != nullptr) *item->matrix = weight;
  }
  weights.memory.push_back(std::move(memory));
  return {};
}

std::shared_ptr<Transfer> make_transfer(const DenseLoading& loading) {
  std::string why_not;
  std::unique_ptr<ReadQueue> queue = loading.queue ? loading.queue() : make_read_queue(kStreamReadDepth, why_not);
  if (!why_not.empty()) log_warn("dense weights are read by threads: " + why_not);
  return std::make_shared<Transfer>(std::move(queue), TransferOptions{.verify = loading.verify});
}

}  // namespace

std::vector<std::uint64_t> dense_layer_bytes(const PackedIndex& index, std::size_t layers) {
  std::vector<std::uint64_t> bytes(layers, 0);
  for (const PackedUnit& unit : index.units) {
    if (unit.kind == PackedKind::kLayer) bytes[static_cast<std::size_t>(unit.layer)] += unit.bytes;
  }
  return bytes;
}

Result<DensePlan> plan_dense(const TensorIndex& index, std::size_t layers, std::uint64_t budget_bytes) {
  if (index.packed() != nullptr) {
    return plan_dense_window(dense_layer_bytes(index.packed()->index(), layers), budget_bytes);
  }
  return invalid_argument("only a packed model can leave dense weights on disk: run `foregate pack MODEL OUT` first",
                          "dense_memory");
}

Status make_dense_window(const TensorIndex& index, const std::vector<WeightItem>& items, const DensePlan& plan,
                         const DenseLoading& loading, Device& device, ModelWeights& weights) {
  const PackedModel& packed = *index.packed();
  std::map<std::int64_t, std::vector<const WeightItem*>> units;  // in the order of the layers
  for (const WeightItem& item : items) units[item.entry->unit].push_back(&item);
  Memory memory = device.allocate(plan.slot_bytes + kDirectPage);
  if (!memory) return resource_exhausted("no memory for " + std::to_string(plan.slot_bytes) + " bytes of weights");
  const auto begin = reinterpret_cast<std::uintptr_t>(memory.data());
  std::byte* read = memory.data() + (kDirectPage - begin % kDirectPage) % kDirectPage;
  DenseTable table;
  table.plan = plan;
  table.keep = index.share_packed();
  for (const auto& [number, parts] : units) {
    const PackedUnit& unit = packed.index().units[static_cast<std::size_t>(number)];
    const UnitRead whole{&packed.file(unit), &unit, read};
    RETURN_IF_ERROR(read_units({&whole, 1}, {.verify = loading.verify}, {}));
    DenseLayer& layer = table.layers.emplace_back();
    layer.layer = LayerId{unit.layer};
    layer.extent.file = &packed.file(unit);
    layer.extent.offset = unit.offset;
    layer.extent.bytes = unit.bytes;
    layer.extent.checksum = unit.checksum;
    layer.extent.piece = kPackedPiece;
    RETURN_IF_ERROR(take_unit(unit, parts, read, device, weights, layer));
  }
  const auto ascending = [](const DenseLayer& a, const DenseLayer& b) { return a.layer < b.layer; };
  std::sort(table.layers.begin(), table.layers.end(), ascending);
  std::shared_ptr<Transfer> transfer = weights.store ? weights.store->transfer() : make_transfer(loading);
  ASSIGN_OR_RETURN(weights.dense, DenseWindow::create(std::move(table), device, std::move(transfer)));
  return {};
}

}  // namespace foregate
