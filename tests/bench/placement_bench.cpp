// How long the solver takes, on one thread, for rows with a placement hidden in them, and how near it comes to that
// placement. Google Benchmark; run by hand.
#include <benchmark/benchmark.h>

#include "engine/placement/solver.h"
#include "tests/engine/placement/planted_rows.h"

namespace foregate {
namespace {

void solve(benchmark::State& state, Objective objective, const PlantedShape& shape) {
  const Planted planted = planted_rows(shape, 1);
  SolverOptions options{.objective = objective, .ranks = shape.ranks};
  Solution found;
  for (auto _ : state) {
    auto solution = solve_placement(planted.rows, options);
    if (!solution.ok()) return state.SkipWithError(solution.status().message().c_str());
    found = std::move(solution).value();
  }
  const PlacementFigures hidden = measure(planted.homes, shape.ranks, planted.rows);
  state.counters["reached"] = found.objective(objective);
  state.counters["planted"] = objective == Objective::kTokenStays ? hidden.crossings : hidden.distinct;
  state.counters["bound"] = found.bound;
  state.counters["imbalance"] = found.figures.imbalance;
}

const PlantedShape kSmall{.layers = 6, .experts = 64, .ranks = 8, .top_k = 8, .rows = 4000};
const PlantedShape kLarge{.layers = 60, .experts = 256, .ranks = 16, .top_k = 8, .rows = 5000};
// Rows that choose evenly: there is nothing to find.
const PlantedShape kEven{.layers = 60, .experts = 256, .ranks = 16, .top_k = 8, .rows = 5000, .astray = 1.0};

}  // namespace
}  // namespace foregate

int main(int argc, char** argv) {
  using namespace foregate;
  const std::pair<const char*, PlantedShape> shapes[] = {{"64_experts_6_layers_8_ranks", kSmall},
                                                         {"256_experts_60_layers_16_ranks", kLarge},
                                                         {"256_experts_60_layers_16_ranks_even", kEven}};
  for (const auto& [name, shape] : shapes) {
    for (const Objective objective : {Objective::kTokenStays, Objective::kDistinctDevices}) {
      benchmark::RegisterBenchmark((std::string("solve/") + name + "/" + objective_name(objective)).c_str(),
                                   [objective, shape](benchmark::State& state) { solve(state, objective, shape); })
          ->Unit(benchmark::kSecond);
    }
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
