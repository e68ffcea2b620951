// foregate trace replay FILE: what each policy would have hit at each budget, what it would have read, and how long the
// steps would have waited for that.
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>

#include "engine/model/summary.h"
#include "engine/runtime/cost_report.h"
#include "tools/foregate/model_costs.h"
#include "tools/foregate/trace_commands.h"

namespace foregate {
namespace {

struct Line {
  std::string budget;
  Replay replay;
};

ReplayStart start_named(const std::string& word) {
  if (word == "cold") return ReplayStart::kCold;
  return word == "warm" ? ReplayStart::kWarm : ReplayStart::kTrace;
}

Result<std::vector<Line>> make_lines(const ReplayArguments& arguments, const TraceInfo& info, const FutureUses& future,
                                     const CostModel* costs) {
  std::vector<Line> lines;
  for (const std::string& budget : arguments.budgets) {
    ASSIGN_OR_RETURN(const std::uint64_t bytes, budget_named(budget, sizes_of(info)));
    for (const std::string& policy : arguments.policies) {
      ASSIGN_OR_RETURN(Replay replay, Replay::create(info, {.policy = policy,
                                                            .budget_bytes = bytes,
                                                            .start = start_named(arguments.start),
                                                            .future = &future,
                                                            .costs = costs}));
      lines.push_back({budget, std::move(replay)});
    }
  }
  return lines;
}

void print_text(const std::vector<Line>& lines, const std::string& stalls_by) {
  std::printf(
      "| budget | slots | policy | hits | misses | hit rate | GB read | MB per token | stall s | stall ms per token |\n"
      "|---|---:|---|---:|---:|---:|---:|---:|---:|---:|\n");
  for (const Line& line : lines) {
    const ReplayFigures& f = line.replay.figures();
    const double tokens = f.tokens > 0 ? static_cast<double>(f.tokens) : 1.0;
    std::printf("| %s | %llu | %s | %llu | %llu | %.2f %% | %.3f | %.3f |", line.budget.c_str(),
                static_cast<unsigned long long>(f.slots), std::string(line.replay.policy()).c_str(),
                static_cast<unsigned long long>(f.hits), static_cast<unsigned long long>(f.misses), 100 * f.hit_rate(),
                static_cast<double>(f.missed_bytes) * 1e-9, static_cast<double>(f.missed_bytes) * 1e-6 / tokens);
    if (stalls_by.empty()) {
      std::printf(" - | - |\n");
    } else {
      std::printf(" %.3f | %.3f |\n", f.stall_seconds, f.stall_seconds * 1e3 / tokens);
    }
  }
  if (stalls_by.empty()) {
    std::printf("\nstalls need costs: --model DIR with a cost model beside it, or --bandwidth\n");
  } else {
    std::printf("\nstalls by %s\n", stalls_by.c_str());
  }
}

void print_json(const TraceInfo& info, const std::vector<Line>& lines, const std::string& stalls_by) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const Line& line : lines) {
    const ReplayFigures& f = line.replay.figures();
    nlohmann::ordered_json row = {{"budget", line.budget},
                                  {"policy", line.replay.policy()},
                                  {"slots", f.slots},
                                  {"slot_bytes", f.slot_bytes},
                                  {"began_with", f.first_experts},
                                  {"hits", f.hits},
                                  {"misses", f.misses},
                                  {"hit_rate", f.hit_rate()},
                                  {"evictions", f.evictions},
                                  {"missed_bytes", f.missed_bytes}};
    if (!stalls_by.empty()) row["stall_seconds"] = f.stall_seconds;
    rows.push_back(std::move(row));
  }
  nlohmann::ordered_json report = {{"model", info.model}};
  report["tokens"] = lines.empty() ? 0 : lines[0].replay.figures().tokens;
  if (!stalls_by.empty()) report["stalls_by"] = stalls_by;
  report["replays"] = std::move(rows);
  std::printf("%s\n", report.dump(2).c_str());
}

}  // namespace

void add_replay_options(CLI::App& app, ReplayArguments& arguments) {
  app.add_option("trace", arguments.trace, "file that `record` or `serve --trace-routes` wrote")->required();
  app.add_option("--policy", arguments.policies, "auto, lru, lfu, score, belady (the bound, which knows the future)")
      ->delimiter(',')
      ->check(CLI::IsMember({"auto", "lru", "lfu", "score", "belady"}));
  app.add_option("--budget", arguments.budgets, "memory for experts: shares (50%), sizes (4GiB) or slots (64slots)")
      ->delimiter(',');
  app.add_option("--start", arguments.start, "what is in memory at first: trace (as it was), cold or warm")
      ->check(CLI::IsMember({"trace", "cold", "warm"}));
  CLI::Option* model =
      app.add_option("--model", arguments.model, "packed model: stalls by the costs measured beside it");
  app.add_option("--bandwidth", arguments.bandwidth, "bytes/s of the disk, to estimate stalls, e.g. 800MB")
      ->transform(CLI::AsSizeValue(true))
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{1} << 60))
      ->excludes(model);
  app.add_option("-o,--output", arguments.format, "md or json")->check(CLI::IsMember({"md", "json"}));
}

Status run_replay(const ReplayArguments& arguments) {
  ASSIGN_OR_RETURN(const OpenTrace trace, open_trace(arguments.trace));
  FutureUses future;
  RETURN_IF_ERROR(each_step(trace, [&future](const TraceStep& step) { add_uses(step, future); }));
  std::optional<CostModel> costs;
  std::string stalls_by;
  if (!arguments.model.empty()) {
    ASSIGN_OR_RETURN(const ModelSummary summary, summarize(local_files(), arguments.model, {}));
    if (!summary.packed) return invalid_argument(arguments.model + " is not packed", "model");
    if (trace.info.weights_id != 0 && trace.info.weights_id != summary.packed->weights_id) {
      return invalid_argument(arguments.trace + " is of other weights than " + arguments.model, "model");
    }
    ASSIGN_OR_RETURN(costs, costs_beside(arguments.model, summary.packed->weights_id));
    stalls_by = costs_text(*costs);
  }
  if (arguments.bandwidth > 0) {
    costs = cost_of_bandwidth(static_cast<double>(arguments.bandwidth));
    stalls_by = std::to_string(arguments.bandwidth) + " bytes/s and no computation";
  }
  ASSIGN_OR_RETURN(auto lines, make_lines(arguments, trace.info, future, costs ? &*costs : nullptr));
  RETURN_IF_ERROR(each_step(trace, [&lines](const TraceStep& step) {
    for (Line& line : lines) line.replay.run(step);
  }));
  arguments.format == "json" ? print_json(trace.info, lines, stalls_by) : print_text(lines, stalls_by);
  return {};
}

}  // namespace foregate
