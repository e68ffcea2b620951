#include "engine/experts/dense_window.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "engine/io/file.h"
#include "kernels/api/check.h"

namespace foregate {

Result<std::unique_ptr<DenseWindow>> DenseWindow::create(DenseTable table, Device& device,
                                                         std::shared_ptr<Transfer> transfer) {
  CHECK(table.layers.size() > kDenseSlots);
  const std::uint64_t bytes = kDenseSlots * table.plan.slot_bytes;
  Memory memory = device.allocate(bytes + kDirectPage);
  if (!memory) return resource_exhausted("no memory for " + std::to_string(bytes) + " bytes of dense weights");
  std::unique_ptr<DenseWindow> window(new DenseWindow(std::move(table), std::move(memory), std::move(transfer)));
  window->read_from(0, false);
  return window;
}

DenseWindow::DenseWindow(DenseTable table, Memory memory, std::shared_ptr<Transfer> transfer)
    : table_(std::move(table)),
      index_of_(table_.plan.streamed.size(), -1),
      pool_(std::move(memory), table_.plan.slot_bytes, kDenseSlots),
      transfer_(std::move(transfer)),
      failed_(table_.layers.size()) {
  for (std::size_t i = 0; i < table_.layers.size(); ++i) {
    index_of_[static_cast<std::size_t>(table_.layers[i].layer.value)] = static_cast<std::int64_t>(i);
  }
  stats_.layers = table_.plan.streamed.size();
  stats_.layers_streamed = table_.layers.size();
  stats_.slot_bytes = kDenseSlots * table_.plan.slot_bytes;
}

DenseWindow::~DenseWindow() {
  const auto loading = [this] {
    for (std::size_t i = 0; i < pool_.count(); ++i) {
      if (pool_.slot(i).state == SlotState::kLoading) return true;
    }
    return false;
  };
  while (loading()) collect(true);
}

std::int64_t DenseWindow::slot_of(std::size_t index) const {
  for (std::size_t i = 0; i < pool_.count(); ++i) {
    const Slot& slot = pool_.slot(i);
    if (slot.state != SlotState::kEmpty && slot.key.layer == table_.layers[index].layer) {
      return static_cast<std::int64_t>(i);
    }
  }
  return -1;
}

// Whether the slot holds one of the layers that the ring should hold when `index` is next.
bool DenseWindow::wanted(const Slot& slot, std::size_t index) const {
  for (std::size_t i = 0; i < kDenseSlots; ++i) {
    if (slot.key.layer == table_.layers[after(index, i)].layer) return true;
  }
  return false;
}

std::optional<std::size_t> DenseWindow::free_slot(std::size_t index) {
  for (std::size_t i = 0; i < pool_.count(); ++i) {
    const Slot& slot = pool_.slot(i);
    if (slot.state == SlotState::kReady && slot.pins == 0 && !wanted(slot, index)) pool_.clear(i);
  }
  return pool_.take_empty();
}

// Layer `index` and those after it, as far as there are slots; `awaited`: the first is needed now.
void DenseWindow::read_from(std::size_t index, bool awaited) {
  for (std::size_t i = 0; i < kDenseSlots; ++i) {
    const std::size_t next = after(index, i);
    const bool now = awaited && i == 0;
    if (const std::int64_t held = slot_of(next); held >= 0) {
      if (now && pool_.slot(static_cast<std::size_t>(held)).state == SlotState::kLoading) {
        transfer_->promote(kDenseTag + next);
      }
      continue;
    }
    const std::optional<std::size_t> slot = free_slot(index);
    if (!slot) return;
    const DenseLayer& layer = table_.layers[next];
    const ExpertKey key{layer.layer, ExpertId{-1}};
    pool_.begin(*slot, key, false);
    const LoadJob job{.extent = &layer.extent,
                      .key = key,
                      .to = pool_.data(*slot),
                      .tag = kDenseTag + next,
                      .hint = !now,
                      .certain = !now,
                      .stream = true};
    transfer_->submit({&job, 1});
  }
}

void DenseWindow::collect(bool wait) {
  ends_.clear();
  transfer_->collect(LoadOwner::kDense, ends_, wait);
  for (const LoadEnd& end : ends_) {
    const auto index = static_cast<std::size_t>(end.tag - kDenseTag);
    const auto slot = static_cast<std::size_t>(slot_of(index));
    pool_.ready(slot);
    failed_[index] = end.status;
    if (!end.status.ok()) pool_.clear(slot);
  }
}

// A read ahead that failed is tried once more, now that its layer is needed.
Status DenseWindow::wait_for(std::size_t index) {
  const auto there = [&] {
    const std::int64_t slot = slot_of(index);
    return slot >= 0 && pool_.slot(static_cast<std::size_t>(slot)).state == SlotState::kReady;
  };
  collect(false);
  ++(there() ? stats_.ready : stats_.late);
  const auto start = std::chrono::steady_clock::now();
  bool asked = false;  // the read that ends next was asked for with the layer waiting
  Status status;
  while (!there()) {
    if (slot_of(index) < 0) {
      if (asked) {
        status = failed_[index];
        break;
      }
      read_from(index, true);
      asked = slot_of(index) >= 0;  // else both slots are being read into
    } else {
      read_from(index, true);
    }
    collect(true);
  }
  stats_.stall_seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return status;
}

Status DenseWindow::begin(LayerId layer) {
  const std::int64_t index = index_of_[static_cast<std::size_t>(layer.value)];
  if (index < 0) return {};
  const auto at = static_cast<std::size_t>(index);
  RETURN_IF_ERROR(wait_for(at));
  const auto slot = static_cast<std::size_t>(slot_of(at));
  pool_.pin(slot);
  for (const DenseLayer::Matrix& matrix : table_.layers[at].matrices) {
    matrix.weight->data = pool_.data(slot) + matrix.offset;
  }
  read_from(at, false);
  return {};
}

void DenseWindow::end(LayerId layer) {
  const std::int64_t index = index_of_[static_cast<std::size_t>(layer.value)];
  if (index < 0) return;
  const auto at = static_cast<std::size_t>(index);
  for (const DenseLayer::Matrix& matrix : table_.layers[at].matrices) matrix.weight->data = nullptr;
  pool_.unpin(static_cast<std::size_t>(slot_of(at)));
  collect(false);
  read_from(after(at, 1), false);
}

DenseStats DenseWindow::stats() const {
  DenseStats stats = stats_;
  stats.transfer = transfer_->stats(LoadOwner::kDense);
  return stats;
}

}  // namespace foregate
