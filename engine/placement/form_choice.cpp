#include "engine/placement/form_choice.h"

#include <algorithm>

#include "engine/placement/travel.h"

namespace foregate {

void FormChoice::begin_step(std::size_t rows) {
  at_.assign(rows, RankId{0});
}

// Of a row that needs several ranks, each of those gets it once and gives back an output for each of its experts. Keys
// and values come to rank 0 where the row was elsewhere, and from there to those that lack them: at most to all others.
void FormChoice::routed(LayerId layer, std::span<const std::int32_t> ids, std::int32_t top_k) {
  const auto k = static_cast<std::size_t>(top_k);
  const auto row_bytes = static_cast<double>(shape_.hidden * shape_.value_bytes);
  const auto context = static_cast<double>(shape_.context * shape_.value_bytes);
  for (std::size_t row = 0; row < at_.size() && (row + 1) * k <= ids.size(); ++row) {
    const auto of_row = ids.subspan(row * k, k);
    // What ranks other than `home` send to it and get from it for the row's experts.
    const auto helped = [&](RankId home) {
      int sent = 0;
      met_.clear();
      for (const std::int32_t id : of_row) {
        if (plan_.holds(home, layer, ExpertId{id})) continue;
        const RankId rank = helping_rank(plan_, layer, ExpertId{id});
        sent += hops(rank, home);
        if (std::find(met_.begin(), met_.end(), rank) != met_.end()) continue;
        met_.push_back(rank);
        sent += hops(home, rank);
      }
      return sent;
    };
    two_ += row_bytes * helped(RankId{0});
    one_ += context * (plan_.ranks() - 1);
    const RankId next = next_rank(plan_, at_[row], layer, of_row);
    one_ += row_bytes * hops(at_[row], next);
    at_[row] = next;
    one_ += row_bytes * helped(next);
  }
}

void FormChoice::end_step() {
  for (const RankId rank : at_) one_ += static_cast<double>(shape_.hidden * shape_.value_bytes) * hops(rank, RankId{0});
  if (++steps_ % kFormSteps != 0) return;
  const double most = form_ == ExchangeForm::kOneAllToAll ? two_ : kFormGain * two_;
  form_ = one_ < most ? ExchangeForm::kOneAllToAll : ExchangeForm::kTwoAllToAlls;
  one_ *= kFormKept;
  two_ *= kFormKept;
}

}  // namespace foregate
