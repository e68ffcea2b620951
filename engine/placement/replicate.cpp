#include "engine/placement/replicate.h"

#include <algorithm>
#include <numeric>

namespace foregate {
namespace {

class LayerCopies {
 public:
  LayerCopies(const RouteRows& rows, std::size_t layer, const LayerHomes& homes, std::int32_t ranks,
              const ReplicaOptions& options)
      : rows_(rows),
        layer_(layer),
        ranks_(static_cast<std::size_t>(ranks)),
        options_(options),
        holds_(homes.size() * ranks_, false),
        uses_(homes.size(), 0.0),
        holders_(homes.size(), 1),
        room_(ranks_, options.per_rank) {
    for (std::size_t e = 0; e < homes.size(); ++e) holds_[e * ranks_ + static_cast<std::size_t>(homes[e])] = true;
    for (std::size_t row = 0; row < rows.rows(); ++row) {
      for (const std::size_t e : rows.of(layer, row)) uses_[e] += rows.weight(row);
    }
  }

  // Calls each(expert, rank) for every copy, in the order of what they gain.
  template <class Each>
  void run(Each each) {
    while (std::any_of(room_.begin(), room_.end(), [](std::int32_t room) { return room > 0; })) {
      auto [expert, rank] = relief();
      if (rank == ranks_) std::tie(expert, rank) = nearer();
      if (rank == ranks_) return;
      holds_[expert * ranks_ + rank] = true;
      ++holders_[expert];
      --room_[rank];
      each(expert, rank);
    }
  }

 private:
  // Load with each expert's rows shared evenly among its holders.
  std::vector<double> loads() const {
    std::vector<double> load(ranks_, 0.0);
    for (std::size_t e = 0; e < uses_.size(); ++e) {
      for (std::size_t r = 0; r < ranks_; ++r) load[r] += holds_[e * ranks_ + r] ? uses_[e] / holders_[e] : 0.0;
    }
    return load;
  }

  // While the layer is uneven: the expert of the most loaded rank with most rows per holder, to the least loaded rank.
  std::pair<std::size_t, std::size_t> relief() const {
    const auto load = loads();
    const double mean = std::accumulate(load.begin(), load.end(), 0.0) / static_cast<double>(ranks_);
    const auto heavy = static_cast<std::size_t>(std::max_element(load.begin(), load.end()) - load.begin());
    std::size_t expert = uses_.size(), rank = ranks_;
    if (load[heavy] <= mean * options_.max_imbalance) return {expert, rank};
    for (std::size_t e = 0; e < uses_.size(); ++e) {
      if (!holds_[e * ranks_ + heavy]) continue;
      for (std::size_t r = 0; r < ranks_; ++r) {
        if (room_[r] == 0 || holds_[e * ranks_ + r] || load[r] + uses_[e] / (holders_[e] + 1) >= load[heavy]) continue;
        const bool first = rank == ranks_;
        const double share = uses_[e] / holders_[e];
        const double best = first ? 0.0 : uses_[expert] / holders_[expert];
        if (first || share > best || (share == best && load[r] < load[rank])) expert = e, rank = r;
      }
    }
    return {expert, rank};
  }

  // The copy that spares most rows a further rank: the row is on `rank` already, and of what it chose elsewhere this
  // expert is the only one on its rank.
  std::pair<std::size_t, std::size_t> nearer() const {
    std::vector<double> gain(holds_.size(), 0.0);
    std::vector<std::size_t> at, count(ranks_);
    for (std::size_t row = 0; row < rows_.rows(); ++row) {
      place(row, at, count);
      const auto ids = rows_.of(layer_, row);
      for (std::size_t i = 0; i < ids.size(); ++i) {
        if (count[at[i]] != 1) continue;
        for (std::size_t r = 0; r < ranks_; ++r) {
          if (r != at[i] && count[r] > 0 && room_[r] > 0) gain[ids[i] * ranks_ + r] += rows_.weight(row);
        }
      }
    }
    std::size_t best = holds_.size();
    for (std::size_t i = 0; i < gain.size(); ++i) {
      if (gain[i] > 0 && !holds_[i] && (best == holds_.size() || gain[i] > gain[best])) best = i;
    }
    if (best == holds_.size()) return {0, ranks_};
    return {best / ranks_, best % ranks_};
  }

  // Where a row goes: to holders it touches anyway, else to the first holder.
  void place(std::size_t row, std::vector<std::size_t>& at, std::vector<std::size_t>& count) const {
    const auto ids = rows_.of(layer_, row);
    at.assign(ids.size(), ranks_);
    std::fill(count.begin(), count.end(), 0);
    for (const bool single : {true, false}) {
      for (std::size_t i = 0; i < ids.size(); ++i) {
        if ((holders_[ids[i]] == 1) != single) continue;
        for (std::size_t r = 0; r < ranks_; ++r) {
          if (!holds_[ids[i] * ranks_ + r]) continue;
          if (at[i] == ranks_ || (count[at[i]] == 0 && count[r] > 0)) at[i] = r;
        }
        ++count[at[i]];
      }
    }
  }

  const RouteRows& rows_;
  std::size_t layer_, ranks_;
  ReplicaOptions options_;
  std::vector<bool> holds_;  // [expert, rank]
  std::vector<double> uses_;
  std::vector<std::int32_t> holders_;
  std::vector<std::int32_t> room_;
};

}  // namespace

Result<PlacementPlan> replicate(const PlacementPlan& plan, std::span<const LayerId> layer_of, const RouteRows& rows,
                                const ReplicaOptions& options) {
  if (options.per_rank < 0) return invalid_argument("a number of copies is not negative", "copies");
  std::vector<ExpertCopy> copies;
  for (std::size_t l = 0; l < rows.layers(); ++l) {
    LayerCopies layer(rows, l, plan.homes_of(layer_of[l]), plan.ranks(), options);
    layer.run([&](std::size_t expert, std::size_t rank) {
      copies.push_back(
          {layer_of[l], ExpertId{static_cast<std::int32_t>(expert)}, RankId{static_cast<std::int32_t>(rank)}});
    });
  }
  return PlacementPlan::create(plan.ranks(), plan.homes(), std::move(copies));
}

}  // namespace foregate
