#include "engine/placement/replan.h"

#include <algorithm>
#include <numeric>

#include "engine/placement/assignment.h"

namespace foregate {
namespace {

// What ranks are called does not matter to the objective: the names under which most experts stay where they are.
LayerHomes renamed(const LayerHomes& wanted, const LayerHomes& now, std::int32_t ranks) {
  const auto width = static_cast<std::size_t>(ranks);
  std::vector<double> costs(width * width, 0.0);
  for (std::size_t e = 0; e < now.size(); ++e) {
    costs[static_cast<std::size_t>(wanted[e]) * width + static_cast<std::size_t>(now[e])] -= 1.0;
  }
  const auto name = cheapest_assignment(costs, ranks, 1);
  LayerHomes homes;
  for (const std::int32_t rank : wanted) homes.push_back(name[static_cast<std::size_t>(rank)]);
  return homes;
}

// Weighted rows times ranks that they touch in one layer.
double touched(const LayerHomes& homes, const RouteRows& rows, std::size_t layer) {
  double sum = 0.0;
  std::vector<std::int32_t> seen;
  for (std::size_t row = 0; row < rows.rows(); ++row) {
    seen.clear();
    for (const std::uint16_t id : rows.of(layer, row)) {
      if (std::find(seen.begin(), seen.end(), homes[id]) == seen.end()) seen.push_back(homes[id]);
    }
    sum += rows.weight(row) * static_cast<double>(seen.size());
  }
  return sum;
}

struct LayerStep {
  std::size_t layer = 0;
  double gain_per_move = 0.0;
};

// The layer that gains most per move first.
std::vector<LayerStep> order_of(const std::vector<LayerHomes>& now, const std::vector<LayerHomes>& wanted,
                                const RouteRows& rows) {
  std::vector<LayerStep> order;
  for (std::size_t l = 0; l < now.size(); ++l) {
    std::size_t moves = 0;
    for (std::size_t e = 0; e < now[l].size(); ++e) moves += now[l][e] != wanted[l][e] ? 1 : 0;
    const double gain = moves == 0 ? 0.0 : touched(now[l], rows, l) - touched(wanted[l], rows, l);
    if (gain > 0) order.push_back({l, gain / static_cast<double>(moves)});
  }
  std::stable_sort(order.begin(), order.end(),
                   [](const LayerStep& a, const LayerStep& b) { return a.gain_per_move > b.gain_per_move; });
  return order;
}

// Exchanges pairs of experts until the layer is as wanted or the moves are spent: every rank keeps its number. An
// expert goes where it is wanted; one that is wanted here comes back for it if there is one. Returns the moves made.
std::size_t exchange_towards(const LayerHomes& wanted, std::size_t most, LayerHomes& homes) {
  std::size_t moves = 0;
  for (std::size_t e = 0; e < homes.size(); ++e) {
    if (homes[e] == wanted[e]) continue;
    if (moves + 2 > most) break;
    std::size_t other = homes.size();
    for (std::size_t f = 0; f < homes.size(); ++f) {
      if (homes[f] != wanted[e] || wanted[f] == homes[f]) continue;
      if (other == homes.size() || wanted[f] == homes[e]) other = f;
      if (wanted[f] == homes[e]) break;
    }
    if (other == homes.size()) continue;  // the rank has room of its own: numbers of experts were uneven
    std::swap(homes[e], homes[other]);
    moves += 2;
  }
  return moves;
}

// Copies that are there and still wanted stay; of the others as many as moves are left.
std::vector<ExpertCopy> copies_within(const PlacementPlan& now, const PlacementPlan& wanted, std::size_t most,
                                      std::size_t& moves) {
  std::vector<ExpertCopy> copies;
  for (const ExpertCopy& copy : wanted.copies()) {
    const bool there = now.holds(copy.rank, copy.layer, copy.expert);
    if (!there && moves >= most) continue;
    moves += there ? 0 : 1;
    copies.push_back(copy);
  }
  return copies;
}

std::size_t new_places(const PlacementPlan& now, const PlacementPlan& next) {
  std::size_t moves = 0;
  for (std::size_t l = 0; l < next.layers(); ++l) {
    const LayerId layer{static_cast<std::int32_t>(l)};
    for (std::int32_t e = 0; e < next.experts(layer); ++e) {
      moves += now.holds(next.home(layer, ExpertId{e}), layer, ExpertId{e}) ? 0 : 1;
    }
  }
  for (const ExpertCopy& copy : next.copies()) moves += now.holds(copy.rank, copy.layer, copy.expert) ? 0 : 1;
  return moves;
}

Result<PlacementPlan> with_homes(const PlacementPlan& now, std::span<const LayerId> layer_of,
                                 const std::vector<LayerHomes>& homes) {
  std::vector<LayerHomes> all = now.homes();
  for (std::size_t l = 0; l < layer_of.size(); ++l) all[static_cast<std::size_t>(layer_of[l].value)] = homes[l];
  return PlacementPlan::create(now.ranks(), std::move(all));
}

Result<PlacementPlan> copied(Result<PlacementPlan> plan, std::span<const LayerId> layer_of, const RouteRows& rows,
                             const ReplicaOptions& replicas) {
  RETURN_IF_ERROR(plan.status());
  return replicate(*plan, layer_of, rows, replicas);
}

}  // namespace

Result<std::optional<Replan>> replan(const PlacementPlan& now, std::span<const LayerId> layer_of, const RouteRows& rows,
                                     const ReplanOptions& options) {
  SolverOptions solver{.objective = Objective::kDistinctDevices, .ranks = now.ranks()};
  solver.max_imbalance = options.max_imbalance;
  solver.restarts = options.restarts;
  solver.seed = options.seed;
  ASSIGN_OR_RETURN(const Solution solution, solve_placement(rows, solver));
  std::vector<LayerHomes> homes, wanted;
  for (std::size_t l = 0; l < layer_of.size(); ++l) {
    homes.push_back(now.homes_of(layer_of[l]));
    wanted.push_back(renamed(solution.homes[l], homes[l], now.ranks()));
  }
  const ReplicaOptions replicas{.per_rank = options.copies, .max_imbalance = options.max_imbalance};
  ASSIGN_OR_RETURN(const PlacementPlan target, copied(with_homes(now, layer_of, wanted), layer_of, rows, replicas));
  Replan made{.plan = now};
  made.before = measure(now, layer_of, rows).distinct;
  made.target = measure(target, layer_of, rows).distinct;
  if (made.target > made.before * (1 - options.hysteresis)) return std::optional<Replan>();
  for (const LayerStep& step : order_of(homes, wanted, rows)) {
    made.moves += exchange_towards(wanted[step.layer], options.max_moves - made.moves, homes[step.layer]);
  }
  ASSIGN_OR_RETURN(const PlacementPlan next, copied(with_homes(now, layer_of, homes), layer_of, rows, replicas));
  auto copies = copies_within(now, next, options.max_moves, made.moves);
  ASSIGN_OR_RETURN(made.plan, PlacementPlan::create(now.ranks(), next.homes(), std::move(copies)));
  made.moves = new_places(now, made.plan);  // an expert that was exchanged twice moved once
  if (made.moves == 0) return std::optional<Replan>();
  made.after = measure(made.plan, layer_of, rows).distinct;
  return std::optional(std::move(made));
}

}  // namespace foregate
