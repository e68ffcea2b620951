// The dense weights of layers (attention, dense FFN, shared experts) that need not all be in memory: the layers that a
// plan (dense_plan.h) does not keep pass through a ring of two slots. Their order is known, so each is read while the
// ones before it run, around the end of a step too. Reads go through the transfer of the experts, behind those that a
// layer waits for. Engine thread, within Model::forward().
//
// INV-14, INV-15 and INV-16 of engine/README.md hold for these too.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "engine/base/status.h"
#include "engine/experts/dense_plan.h"
#include "engine/experts/slot_pool.h"
#include "engine/experts/transfer.h"
#include "kernels/api/device.h"
#include "kernels/api/quant.h"

namespace foregate {

// A layer that streams: its unit of the packed files, and the matrices of which the bytes are there.
struct DenseLayer {
  struct Matrix {
    PackedWeight* weight = nullptr;
    std::uint64_t offset = 0;  // from the start of the unit
  };
  LayerId layer;
  ExpertExtent extent;
  std::vector<Matrix> matrices;
};

struct DenseTable {
  std::vector<DenseLayer> layers;  // that stream, ascending
  DensePlan plan;
  std::shared_ptr<const void> keep;  // what owns the files
};

struct DenseStats {
  std::uint64_t layers = 0;           // of the model
  std::uint64_t layers_streamed = 0;  // of them
  std::uint64_t ready = 0;            // streamed layers that were there when they began
  std::uint64_t late = 0;             // that were not
  double stall_seconds = 0.0;         // waited for them
  std::uint64_t slot_bytes = 0;       // of the ring
  TransferStats transfer;
};

class DenseWindow {
 public:
  // kResourceExhausted when the device has too little memory. Begins to read the first layers.
  static Result<std::unique_ptr<DenseWindow>> create(DenseTable table, Device& device,
                                                     std::shared_ptr<Transfer> transfer);
  ~DenseWindow();  // waits for what is being read

  // The layer's matrices lead to its bytes from here until end(). Waits for its read; an error is that of the read,
  // after which nothing is held, and the next begin() reads again. Nothing happens for a layer that stays in memory.
  Status begin(LayerId layer);
  void end(LayerId layer);
  DenseStats stats() const;

 private:
  DenseWindow(DenseTable table, Memory memory, std::shared_ptr<Transfer> transfer);
  std::size_t after(std::size_t index, std::size_t steps) const { return (index + steps) % table_.layers.size(); }
  std::int64_t slot_of(std::size_t index) const;
  bool wanted(const Slot& slot, std::size_t index) const;
  std::optional<std::size_t> free_slot(std::size_t index);
  void read_from(std::size_t index, bool awaited);
  Status wait_for(std::size_t index);
  void collect(bool wait);

  DenseTable table_;
  std::vector<std::int64_t> index_of_;  // by layer: in table_.layers, or -1
  SlotPool pool_;
  std::shared_ptr<Transfer> transfer_;
  std::vector<Status> failed_;  // by index: how its last read ended, OK but where it failed and was not awaited since
  std::vector<LoadEnd> ends_;
  DenseStats stats_;
};

}  // namespace foregate
