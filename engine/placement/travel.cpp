#include "engine/placement/travel.h"

namespace foregate {
namespace {

int count_held(const PlacementPlan& plan, RankId rank, LayerId layer, std::span<const std::int32_t> ids) {
  int held = 0;
  for (const std::int32_t id : ids) held += plan.holds(rank, layer, ExpertId{id}) ? 1 : 0;
  return held;
}

}  // namespace

RankId next_rank(const PlacementPlan& plan, RankId here, LayerId layer, std::span<const std::int32_t> ids) {
  if (ids.empty() || count_held(plan, here, layer, ids) > 0) return here;
  RankId best = here;
  int most = 0;
  for (const std::int32_t id : ids) {
    for (std::int32_t r = 0; r < plan.ranks(); ++r) {
      if (!plan.holds(RankId{r}, layer, ExpertId{id})) continue;
      const int held = count_held(plan, RankId{r}, layer, ids);
      if (held > most) {
        most = held;
        best = RankId{r};
      }
    }
  }
  return best;
}

RankId helping_rank(const PlacementPlan& plan, LayerId layer, ExpertId expert) {
  return plan.holds(RankId{0}, layer, expert) ? RankId{0} : plan.home(layer, expert);
}

}  // namespace foregate
