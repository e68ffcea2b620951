// What the rows of drafts were routed to, kept from their step until it is known which of them stood. Those are then
// counted as plain decoding would have: token after token, layer after layer, once each. What was rejected is forgotten
// and leaves no trace in what policies know of experts (INV-25). Owned by the transformer, thread of the step.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "engine/experts/device_tier.h"
#include "engine/experts/expert_store.h"
#include "engine/model/model_config.h"
#include "engine/model/step.h"

namespace foregate {

class DraftRoutes {
 public:
  explicit DraftRoutes(const ModelConfig& config);

  // A step with drafts; what the one before it kept is forgotten.
  void begin(const Step& step);
  // After group_by_expert(), when expert_found() may be asked. `owners`: the rank that computes each group; empty: 0.
  void note(const Step& step, LayerId id, const ExpertStore* store, const DeviceTier* tier,
            std::span<const std::int32_t> owners = {});

  // One layer of the step that plain decoding would have made of the tokens at one place of all drafts.
  struct Stood {
    bool begins = false;                    // it is the first of its step
    LayerUse use;                           // of decoding; each expert once
    std::span<const std::uint8_t> found;    // of each expert: expert_found() then
    std::span<const std::uint8_t> on_tier;  // of each expert: the device had it
    std::span<const std::int32_t> owners;   // of each expert: the rank that computed it
    std::span<const std::int32_t> ids;      // of each row that stood there, top_k
  };
  // `stood`: of each sequence of the step, how many rows of its draft. By place, then by layer.
  void each_stood(std::span<const std::int32_t> stood, const std::function<void(const Stood&)>& each);
  // Of each row of the step, 1: of a draft, and it stood.
  std::vector<std::uint8_t> rows_that_stood(std::span<const std::int32_t> stood) const;
  // Of each drafted row of the step its place among those that stood, 0 for none: of drafts that are trees. False when
  // they are not as many.
  bool take_places(std::span<const std::int32_t> places);
  void forget();
  std::size_t sequences() const { return seqs_; }  // of the step; 0: nothing is kept

 private:
  struct Row {
    std::int32_t row = 0;  // of the step
    std::size_t seq = 0;
    std::int32_t place = 0;  // from 1 on; 0: it did not stand
  };
  struct Choice {
    std::int32_t expert = 0;
    std::uint8_t found = 0;
    std::uint8_t on_tier = 0;
    std::int32_t owner = 0;
  };
  struct Layer {
    LayerId id;
    std::vector<Choice> choices;  // [rows_, top_k]
  };
  void gather(const Layer& layer, std::span<const std::int32_t> stood, std::int32_t place);

  std::size_t top_k_;
  std::int64_t step_ = -1;
  std::size_t seqs_ = 0;
  std::size_t step_rows_ = 0;
  std::vector<Row> rows_;  // of drafts
  std::vector<Layer> layers_;
  std::size_t noted_ = 0;  // of layers_, those of this step
  // What each_stood() shows.
  std::vector<Choice> choices_;
  std::vector<std::int32_t> experts_, counts_, owners_, ids_;
  std::vector<std::uint8_t> found_, on_tier_;
};

}  // namespace foregate
