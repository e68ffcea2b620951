// Which of the two forms of an exchange (forms.h) the next steps should take, by the bytes that each would have sent
// for the rows of late. It counts what ranks send that have lines to rank 0 alone: what goes between two others is sent
// twice. A pure fold over routed rows. Engine thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/placement/forms.h"
#include "engine/placement/plan.h"

namespace foregate {

inline constexpr int kFormSteps = 32;       // between two choices
inline constexpr double kFormGain = 0.9;    // one all-to-all is taken up to this part of two, and kept up to all of it
inline constexpr double kFormKept = 0.875;  // of what was counted before each choice

class FormChoice {
 public:
  FormChoice(const PlacementPlan& plan, RowShape shape) : plan_(plan), shape_(shape) {}
  // A step of `rows` rows, each of another sequence, begins; all are at rank 0.
  void begin_step(std::size_t rows);
  // Its rows in one layer with experts: [rows, top_k].
  void routed(LayerId layer, std::span<const std::int32_t> ids, std::int32_t top_k);
  void end_step();

  ExchangeForm form() const { return form_; }
  double bytes(ExchangeForm form) const { return form == ExchangeForm::kOneAllToAll ? one_ : two_; }

 private:
  const PlacementPlan plan_;
  RowShape shape_;
  std::vector<RankId> at_;  // by row
  std::vector<RankId> met_;
  double one_ = 0.0, two_ = 0.0;
  int steps_ = 0;
  ExchangeForm form_ = ExchangeForm::kTwoAllToAlls;
};

}  // namespace foregate
