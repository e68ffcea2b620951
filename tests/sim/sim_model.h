// The model of a simulation. The pages hold, for every position, the token, the position and a hash of all tokens up
// to it; logits are made of that hash. So whoever reads a page that was mixed up, freed, not copied or not written
// is seen at once. With a window it reads no further back than that, and takes the hash from the first page it reads.
// It also misbehaves as it is told to: steps that fail before or after they wrote, rows that are not finite, steps that
// take long, a device that is gone.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "engine/base/clock.h"
#include "engine/model/model.h"
#include "tests/sim/dice.h"
#include "tests/sim/ledger.h"
#include "tests/sim/sim_elastic.h"
#include "tests/sim/sim_experts.h"

namespace foregate::sim {

class SimClock final : public Clock {
 public:
  TimeNs now() const override { return now_; }
  std::int64_t wall_seconds() const override { return 0; }
  void advance(TimeNs by) { now_ += by; }

 private:
  TimeNs now_ = 1'000'000'000;
};

struct ModelFaults {
  double fails = 0.0;    // a step
  double loses = 0.0;    // one row of a step is not finite
  double dies = 0.0;     // the device, for good
  double is_slow = 0.0;  // a step takes a second instead of a millisecond
  bool drawn = true;     // what fails is drawn; else a step that has begun, and the first row
};

struct SimWindow {
  std::int32_t positions = 0;  // that a row sees, 2 at least; 0: all
  bool mixed = false;          // beside the layer with the window there is one without
};

class SimModel final : public Model {
 public:
  SimModel(std::uint64_t seed, Ledger& ledger, SimClock& clock, const ModelFaults& faults, SimWindow window)
      : ledger_(ledger), clock_(clock), faults_(faults), window_(window), dice_(seed, 7) {}
  Status forward(const ForwardInput& input, KvCache& cache, View2<float> logits) override;
  std::int32_t vocab_size() const override { return kVocab; }
  KvLayout kv_layout(DType type, std::int32_t block_size) const override;
  bool broken() const override { return broken_; }
  // Experts on disk, or as if they were: each request uses some of eight, others from step to step; a load takes as
  // long as a step.
  std::span<const std::int32_t> last_experts(std::uint64_t request) const override;
  std::span<const std::uint8_t> resident_experts() override;
  std::optional<ExpertFigures> expert_figures() const override;
  ElasticSlots* elastic_slots() override { return slots_.get(); }
  void set_experts(std::unique_ptr<SimExperts> experts) { experts_on_disk_ = std::move(experts); }
  const SimExperts* experts() const { return experts_on_disk_.get(); }
  void set_slots(std::unique_ptr<SimSlots> slots) { slots_ = std::move(slots); }
  void stop_faults() {
    faults_ = {};
    if (experts_on_disk_) experts_on_disk_->stop_faults();
  }
  void set_faults(const ModelFaults& faults) { faults_ = faults; }
  // A hash of what the slots of a block hold, in all layers of the group.
  std::uint64_t contents(std::int32_t block, KvGroup group = KvGroup::kMain) const;

 private:
  struct Slot {
    Token token = 0;
    std::int32_t position = 0;
    std::uint64_t hash = 0;
  };
  // What one layer reads and writes in this step.
  struct Layer {
    KvPages pages;
    KvGroup group = KvGroup::kMain;
    std::int32_t window = 0;
    std::span<const SeqSpan> seqs;
    std::span<const std::int64_t> slots;
  };
  void look_at(const ForwardInput& input, const KvCache& cache);
  Status compute(const ForwardInput& input, View2<float> logits);
  void run_rows(const ForwardInput& input, const SeqSpan& seq, const Layer& layer);
  void check_who(const ForwardInput& input);
  void check_slots(const Layer& layer);
  void lose_row(const ForwardInput& input, View2<float> logits);
  Slot read(const KvPages& pages, std::int64_t slot) const;
  void write(const KvPages& pages, std::int64_t slot, const Slot& value);
  std::size_t seq_of_row(const ForwardInput& input, std::int32_t row) const;
  std::int32_t first_read(const SeqSpan& seq, const Layer& layer) const;  // position

  Ledger& ledger_;
  SimClock& clock_;
  ModelFaults faults_;
  const SimWindow window_;
  Dice dice_;
  bool broken_ = false;
  std::unique_ptr<SimSlots> slots_;              // null: as many as there are
  std::unique_ptr<SimExperts> experts_on_disk_;  // null: they are made up
  std::vector<Layer> layers_;                    // of the last step
  std::uint64_t steps_ = 0;
  mutable std::map<std::uint64_t, std::vector<std::int32_t>> experts_;  // by request
  std::vector<std::uint8_t> resident_;
  std::vector<std::uint64_t> hashes_;  // by row of the step
};

}  // namespace foregate::sim
