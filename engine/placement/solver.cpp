#include "engine/placement/solver.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "engine/placement/bound.h"
#include "engine/placement/distinct_search.h"
#include "engine/placement/stays_search.h"

namespace foregate {
namespace {

Status check(const RouteRows& rows, const SolverOptions& options) {
  if (options.ranks < 1 || options.ranks > kMaxRanks) return invalid_argument("1 to 1024 ranks", "ranks");
  if (options.nodes < 1 || options.ranks % options.nodes != 0) {
    return invalid_argument("the ranks are shared evenly among nodes", "nodes");
  }
  if (options.restarts < 1 || options.max_sweeps < 1) return invalid_argument("at least one restart and sweep");
  if (rows.top_k < 1 || rows.rows() == 0 || rows.ids.size() != rows.layers()) {
    return invalid_argument("there are no routed rows to place experts by");
  }
  if (!rows.weights.empty() && rows.weights.size() != rows.rows()) return invalid_argument("each row needs a weight");
  for (std::size_t l = 0; l < rows.layers(); ++l) {
    if (rows.experts[l] < options.ranks) {
      return invalid_argument(
          "layer " + std::to_string(l) + " has " + std::to_string(rows.experts[l]) + " experts, fewer than ranks",
          "ranks");
    }
    if (rows.ids[l].size() != rows.ids[0].size()) return invalid_argument("each layer needs the same rows");
    for (const std::uint16_t id : rows.ids[l]) {
      if (id >= rows.experts[l]) return invalid_argument("a row chose an expert that its layer lacks");
    }
  }
  return {};
}

// Load beyond the limits, then the objective: less is better.
std::pair<double, double> badness(const Solution& solution, const SolverOptions& options) {
  const double over = std::max(solution.figures.imbalance - options.max_imbalance, 0.0);
  return {over < 1e-6 ? 0.0 : over, solution.objective(options.objective)};
}

// The best of the restarts; every layer's number of experts is a multiple of the ranks.
Solution search(const RouteRows& even, const SolverOptions& options) {
  const Affinity affinity = count_affinity(even);
  const bool stays = options.objective == Objective::kTokenStays;
  std::optional<Solution> best;
  std::int32_t sweeps = 0;
  for (std::int32_t restart = 0; restart < options.restarts; ++restart) {
    Solution found;
    found.homes = stays ? search_stays(affinity, options, restart, sweeps)
                        : search_distinct(even, affinity, options, restart, sweeps);
    if (!stays) align_ranks(affinity, options.ranks, found.homes);
    found.figures = measure(found.homes, options.ranks, even);
    if (!best || badness(found, options) < badness(*best, options)) best = std::move(found);
  }
  best->sweeps = sweeps;
  return std::move(*best);
}

// What is left of the rows on one node, its experts numbered from 0; `experts[layer]` says which those are.
RouteRows rows_on_node(const RouteRows& rows, const std::vector<LayerHomes>& nodes, std::int32_t node,
                       std::vector<std::vector<std::uint16_t>>& experts) {
  RouteRows on{.top_k = rows.top_k, .experts = {}, .ids = {}, .weights = rows.weights};
  experts.assign(rows.layers(), {});
  for (std::size_t l = 0; l < rows.layers(); ++l) {
    std::vector<std::uint16_t> number(nodes[l].size(), kNoExpert);
    for (std::size_t e = 0; e < nodes[l].size(); ++e) {
      if (nodes[l][e] != node) continue;
      number[e] = static_cast<std::uint16_t>(experts[l].size());
      experts[l].push_back(static_cast<std::uint16_t>(e));
    }
    on.experts.push_back(static_cast<std::int32_t>(experts[l].size()));
    auto& ids = on.ids.emplace_back(rows.ids[l].size(), kNoExpert);
    for (std::size_t row = 0; row < rows.rows(); ++row) {
      std::size_t at = row * static_cast<std::size_t>(rows.top_k);
      for (const std::uint16_t id : rows.of(l, row)) {
        if (number[id] != kNoExpert) ids[at++] = number[id];
      }
    }
  }
  return on;
}

// The nodes may take their part of the imbalance, their ranks what is left of it.
Solution search_nested(const RouteRows& even, const SolverOptions& options) {
  SolverOptions step = options;
  step.max_imbalance = std::sqrt(options.max_imbalance);
  step.ranks = options.nodes;
  Solution whole = search(even, step);
  const std::vector<LayerHomes> nodes = whole.homes;
  step.max_imbalance = std::max(options.max_imbalance / whole.figures.imbalance, 1.0);
  step.ranks = options.ranks / options.nodes;
  for (std::int32_t node = 0; node < options.nodes; ++node) {
    std::vector<std::vector<std::uint16_t>> experts;
    const Solution inside = search(rows_on_node(even, nodes, node, experts), step);
    whole.sweeps += inside.sweeps;
    for (std::size_t l = 0; l < experts.size(); ++l) {
      for (std::size_t i = 0; i < experts[l].size(); ++i) {
        whole.homes[l][experts[l][i]] = node * step.ranks + inside.homes[l][i];
      }
    }
  }
  whole.figures = measure(whole.homes, options.ranks, even);
  return whole;
}

}  // namespace

Result<Objective> objective_named(std::string_view name) {
  if (name == "token-stays") return Objective::kTokenStays;
  if (name == "distinct-devices") return Objective::kDistinctDevices;
  return invalid_argument("an objective is token-stays or distinct-devices", "objective");
}

const char* objective_name(Objective objective) {
  return objective == Objective::kTokenStays ? "token-stays" : "distinct-devices";
}

Result<Solution> solve_placement(const RouteRows& rows, const SolverOptions& options) {
  RETURN_IF_ERROR(check(rows, options));
  // Experts that nobody chooses fill each layer up, so that every rank takes the same number.
  RouteRows even = rows;
  for (std::int32_t& experts : even.experts) experts = (experts + options.ranks - 1) / options.ranks * options.ranks;
  Solution best = options.nodes > 1 ? search_nested(even, options) : search(even, options);
  best.between_nodes = measure(nodes_of(best.homes, options.ranks, options.nodes), options.nodes, even);
  const Affinity affinity = count_affinity(even);
  best.bound = options.objective == Objective::kTokenStays ? crossings_bound(affinity, options.ranks)
                                                           : distinct_bound(affinity, rows.top_k, options.ranks);
  for (std::size_t l = 0; l < rows.layers(); ++l) best.homes[l].resize(static_cast<std::size_t>(rows.experts[l]));
  return best;
}

}  // namespace foregate
