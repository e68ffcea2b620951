// foregate place: from what a model routed, which rank should hold which expert; beside it what placing by rule would
// cost, and the bound that no placement beats.
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "engine/io/file.h"
#include "engine/model/model_source.h"
#include "engine/placement/forms.h"
#include "engine/placement/plan_file.h"
#include "engine/placement/replicate.h"
#include "engine/placement/solver.h"
#include "tools/foregate/commands.h"
#include "tools/foregate/route_rows.h"

namespace foregate {
namespace {

struct PlaceOptions {
  std::string trace;
  std::string check;  // a trace of other prompts; empty: the same
  std::string out;
  std::string format = "md";
  std::string objective = "distinct-devices";
  SolverOptions solver;
  ReplicaOptions replicas;
  std::string model;  // whose rows travel; empty: bytes are not told
  std::int64_t value_bytes = 4;
  double half_life = 0.0;
  std::uint64_t max_rows = 20000;
};

struct Line {
  std::string placement;
  PlacementFigures figures;
  PlacementFigures between_nodes;
  FormForecast forms;
};

void add_options(CLI::App& app, PlaceOptions& options) {
  app.add_option("--trace", options.trace, "what was routed: of `trace record` or `serve --trace-routes`")->required();
  app.add_option("--ranks", options.solver.ranks, "ranks that share the experts")
      ->required()
      ->check(CLI::Range(1, kMaxRanks));
  app.add_option("--nodes", options.solver.nodes,
                 "machines that the ranks are on, evenly: experts are placed on nodes first, then on the ranks of each")
      ->check(CLI::Range(1, kMaxRanks));
  app.add_option("--objective", options.objective,
                 "token-stays: least crossings from layer to layer; distinct-devices: fewest ranks per token and layer")
      ->check(CLI::IsMember({"token-stays", "distinct-devices"}));
  app.add_option("-o,--out", options.out, "plan file to write");
  app.add_option("--copies", options.replicas.per_rank, "further experts that each rank may hold in each layer")
      ->check(CLI::Range(0, 1 << 16));
  app.add_option("--max-imbalance", options.solver.max_imbalance, "most loaded rank over the mean, per layer")
      ->check(CLI::Range(1.0, 1000.0));
  app.add_option("--half-life", options.half_life, "rows after which what was routed counts half; 0: never")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--max-rows", options.max_rows, "rows to place by, spread over the trace")
      ->check(CLI::Range(1, 1 << 24));
  app.add_option("--restarts", options.solver.restarts, "searches, of which the best counts")
      ->check(CLI::Range(1, 1000));
  app.add_option("-s,--seed", options.solver.seed, "of the searches");
  app.add_option("--check", options.check, "measure on this trace instead, of prompts that were not placed by");
  app.add_option("--model", options.model, "tell the bytes between ranks per token of this model, in both forms");
  app.add_option("--value-bytes", options.value_bytes, "of a value on its way, with --model")->check(CLI::Range(1, 8));
  app.add_option("--format", options.format, "md or json")->check(CLI::IsMember({"md", "json"}));
}

Result<RowShape> row_shape(const PlaceOptions& options) {
  RowShape shape{.hidden = 1, .context = 0, .value_bytes = options.value_bytes};
  if (options.model.empty()) return shape;
  ASSIGN_OR_RETURN(const OpenModel model, open_model(local_files(), options.model));
  shape.hidden = model.config.hidden_size;
  shape.context = 2 * model.config.kv_width();
  return shape;
}

Result<std::vector<Line>> compare(const PlaceOptions& options, const PlacementPlan& plan, const TraceRows& by) {
  std::vector<Line> lines;
  const std::int32_t ranks = plan.ranks();
  ASSIGN_OR_RETURN(const auto linear, PlacementPlan::linear(ranks, by.experts));
  ASSIGN_OR_RETURN(const auto robin, PlacementPlan::round_robin(ranks, by.experts));
  std::optional<TraceRows> other;
  if (!options.check.empty()) {
    ASSIGN_OR_RETURN(other, rows_of_trace(options.check, options.max_rows));
    if (other->experts != by.experts || other->rows.top_k != by.rows.top_k) {
      return invalid_argument(options.check + " is of another model than " + options.trace, "check");
    }
  }
  const RouteRows& rows = other ? other->rows : by.rows;
  ASSIGN_OR_RETURN(const RowShape shape, row_shape(options));
  const std::pair<const char*, const PlacementPlan*> placements[] = {
      {"affinity", &plan}, {"linear", &linear}, {"round-robin", &robin}};
  for (const auto& [name, placed] : placements) {
    std::vector<LayerHomes> homes;
    for (const LayerId layer : by.layers) homes.push_back(placed->homes_of(layer));
    const std::int32_t nodes = options.solver.nodes;
    lines.push_back({name, measure(*placed, by.layers, rows), measure(nodes_of(homes, ranks, nodes), nodes, rows),
                     forecast_forms(homes, ranks, rows, shape)});
  }
  return lines;
}

// Copies are not used here.
void print_forms(const std::vector<Line>& lines) {
  std::printf("\nbytes between ranks per token and step, sequences at home on all ranks alike\n\n");
  std::printf(
      "| placement | two all-to-alls | one all-to-all | of it context | one over two | without context | better |\n"
      "|---|---:|---:|---:|---:|---:|---|\n");
  for (const Line& line : lines) {
    const FormBytes& two = line.forms.two;
    const FormBytes& one = line.forms.one;
    std::printf("| %s | %.0f | %.0f | %.0f %% | %.2f | %.2f | %s |\n", line.placement.c_str(), two.bytes, one.bytes,
                one.bytes > 0 ? 100 * one.context_bytes / one.bytes : 0.0, one.bytes / two.bytes, one.rows / two.rows,
                form_name(line.forms.better()));
  }
}

// Copies are not used here.
void print_nodes(const std::vector<Line>& lines, std::int32_t nodes) {
  std::printf(
      "\nbetween %d nodes\n\n| placement | crossings | nodes per token and layer | imbalance |\n|---|---:|---:|---:|\n",
      nodes);
  for (const Line& line : lines) {
    const PlacementFigures& between = line.between_nodes;
    std::printf("| %s | %.2f %% | %.3f | %.3f |\n", line.placement.c_str(), 100 * between.crossings, between.distinct,
                between.mean_imbalance);
  }
}

void print_text(const PlaceOptions& options, const Solution& solution, const TraceRows& by,
                const std::vector<Line>& lines) {
  std::printf("placed by %zu of %llu rows, %zu layers, top-%d, %d ranks, %s\n", by.rows.rows(),
              static_cast<unsigned long long>(by.in_trace), by.layers.size(), by.rows.top_k, options.solver.ranks,
              options.objective.c_str());
  const double reached = solution.objective(options.solver.objective);
  std::printf("objective %.4f, bound %.4f, gap %.2f %%, %d sweeps\n\n", reached, solution.bound,
              reached > 0 ? 100 * (reached - solution.bound) / reached : 0.0, solution.sweeps);
  std::printf("measured on %s\n\n", options.check.empty() ? "the same rows" : options.check.c_str());
  std::printf(
      "| placement | crossings | ranks per token and layer | imbalance | worst layer |\n|---|---:|---:|---:|---:|\n");
  for (const Line& line : lines) {
    std::printf("| %s | %.2f %% | %.3f | %.3f | %.3f |\n", line.placement.c_str(), 100 * line.figures.crossings,
                line.figures.distinct, line.figures.mean_imbalance, line.figures.imbalance);
  }
  if (options.solver.nodes > 1) print_nodes(lines, options.solver.nodes);
  if (!options.model.empty()) print_forms(lines);
}

void print_json(const PlaceOptions& options, const Solution& solution, const TraceRows& by,
                const std::vector<Line>& lines) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const Line& line : lines) {
    rows.push_back({{"placement", line.placement},
                    {"crossings", line.figures.crossings},
                    {"distinct", line.figures.distinct},
                    {"imbalance", line.figures.imbalance},
                    {"mean_imbalance", line.figures.mean_imbalance}});
    if (options.solver.nodes > 1) {
      rows.back()["between_nodes"] = {{"crossings", line.between_nodes.crossings},
                                      {"distinct", line.between_nodes.distinct},
                                      {"mean_imbalance", line.between_nodes.mean_imbalance}};
    }
    if (options.model.empty()) continue;
    rows.back()["bytes_per_token"] = {{"two_all_to_alls", line.forms.two.bytes},
                                      {"one_all_to_all", line.forms.one.bytes},
                                      {"rows_over_rows", line.forms.one.rows / line.forms.two.rows},
                                      {"better", form_name(line.forms.better())}};
  }
  const nlohmann::ordered_json report = {{"rows", by.rows.rows()},
                                         {"ranks", options.solver.ranks},
                                         {"objective", options.objective},
                                         {"reached", solution.objective(options.solver.objective)},
                                         {"bound", solution.bound},
                                         {"measured_on", options.check.empty() ? options.trace : options.check},
                                         {"placements", rows}};
  std::printf("%s\n", report.dump(2).c_str());
}

Status write_plan(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  return file ? Status() : unavailable("cannot write " + path);
}

Status run(PlaceOptions options) {
  ASSIGN_OR_RETURN(options.solver.objective, objective_named(options.objective));
  ASSIGN_OR_RETURN(TraceRows by, rows_of_trace(options.trace, options.max_rows));
  decay(by.rows, options.half_life);
  ASSIGN_OR_RETURN(const Solution solution, solve_placement(by.rows, options.solver));
  std::vector<LayerHomes> homes(by.experts.size());
  for (std::size_t l = 0; l < by.layers.size(); ++l) {
    homes[static_cast<std::size_t>(by.layers[l].value)] = solution.homes[l];
  }
  ASSIGN_OR_RETURN(PlacementPlan plan, PlacementPlan::create(options.solver.ranks, std::move(homes)));
  options.replicas.max_imbalance = options.solver.max_imbalance;
  ASSIGN_OR_RETURN(plan, replicate(plan, by.layers, by.rows, options.replicas));
  ASSIGN_OR_RETURN(const auto lines, compare(options, plan, by));
  options.format == "json" ? print_json(options, solution, by, lines) : print_text(options, solution, by, lines);
  if (options.out.empty()) return {};
  ASSIGN_OR_RETURN(const OpenTrace trace, open_trace(options.trace));
  return write_plan(options.out, plan_text(plan, {trace.info.model, options.objective}));
}

}  // namespace

int place_command(int argc, char** argv) {
  CLI::App app("Which rank should hold which expert, from what a model routed", "foregate place");
  PlaceOptions options;
  add_options(app, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int shown = app.exit(error);
    return shown == 0 ? 0 : 2;
  }
  const Status status = run(std::move(options));
  if (status.ok()) return 0;
  std::fprintf(stderr, "foregate place: %s\n", status.to_string().c_str());
  return status.code() == Code::kInvalidArgument ? 2 : 1;
}

}  // namespace foregate
