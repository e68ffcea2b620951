#include "engine/placement/solver.h"

#include <algorithm>
#include <optional>

#include "engine/placement/bound.h"
#include "engine/placement/distinct_search.h"
#include "engine/placement/stays_search.h"

namespace foregate {
namespace {

Status check(const RouteRows& rows, const SolverOptions& options) {
  if (options.ranks < 1 || options.ranks > kMaxRanks) return invalid_argument("1 to 1024 ranks", "ranks");
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
  best->bound = stays ? crossings_bound(affinity, options.ranks) : distinct_bound(affinity, rows.top_k, options.ranks);
  for (std::size_t l = 0; l < rows.layers(); ++l) best->homes[l].resize(static_cast<std::size_t>(rows.experts[l]));
  return std::move(*best);
}

}  // namespace foregate
