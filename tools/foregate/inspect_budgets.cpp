#include "tools/foregate/inspect_budgets.h"

#include <algorithm>
#include <cstdio>

#include "engine/runtime/cost_report.h"
#include "tools/foregate/model_costs.h"
#include "tools/foregate/trace_commands.h"

namespace foregate {
namespace {

constexpr int kPercents[] = {25, 50, 75, 100};

DecodeWork work_of(const ModelSummary& summary) {
  const GroupSize& experts = summary.group(WeightGroup::kExperts);
  DecodeWork work;
  work.dense_bytes = static_cast<std::uint64_t>(summary.total.read_per_token - experts.read_per_token);
  work.top_k = summary.config.router.top_k;
  const std::uint64_t bytes = summary.packed->expert_bytes / std::max<std::size_t>(summary.packed->experts, 1);
  for (const LayerConfig& layer : summary.config.layers) {
    if (layer.sparse) work.expert_bytes.push_back(bytes);
  }
  return work;
}

Status take_replayed(const ModelSummary& summary, const std::string& path, std::vector<BudgetLine>& lines) {
  ASSIGN_OR_RETURN(const OpenTrace trace, open_trace(path));
  std::vector<std::int32_t> experts;
  for (const LayerConfig& layer : summary.config.layers) {
    experts.push_back(layer.sparse ? summary.config.router.experts : 0);
  }
  const bool other = trace.info.weights_id != 0 && trace.info.weights_id != summary.packed->weights_id;
  if (other || trace.info.experts != experts || trace.info.top_k != summary.config.router.top_k) {
    return invalid_argument(path + " is a trace of another model: " + trace.info.model, "trace");
  }
  std::vector<Replay> replays;
  for (const BudgetLine& line : lines) {
    ASSIGN_OR_RETURN(const std::uint64_t budget,
                     budget_named(std::to_string(line.percent) + "%", sizes_of(trace.info)));
    ASSIGN_OR_RETURN(Replay replay, Replay::create(trace.info, {.policy = "auto", .budget_bytes = budget}));
    replays.push_back(std::move(replay));
  }
  RETURN_IF_ERROR(each_step(trace, [&replays](const TraceStep& step) {
    for (Replay& replay : replays) replay.run(step);
  }));
  for (std::size_t i = 0; i < lines.size(); ++i) lines[i].hit_rate = replays[i].figures().hit_rate();
  return {};
}

}  // namespace

Result<BudgetTable> plan_budgets(const ModelSummary& summary, const std::string& dir, std::int64_t kv_bytes,
                                 const std::string& trace) {
  BudgetTable table;
  const std::int64_t dense = summary.total.packed_bytes - summary.group(WeightGroup::kExperts).packed_bytes;
  const auto experts = static_cast<double>(summary.packed->expert_bytes);
  for (const int percent : kPercents) {
    BudgetLine& line = table.lines.emplace_back();
    line.percent = percent;
    line.expert_bytes = static_cast<std::int64_t>(experts * percent / 100);
    line.memory_bytes = dense + line.expert_bytes + kv_bytes;
    line.hit_rate = percent / 100.0;
  }
  table.hits_by = "every expert as likely as another, so the share in memory";
  if (!trace.empty()) {
    RETURN_IF_ERROR(take_replayed(summary, trace, table.lines));
    table.hits_by = "a replay of " + trace + " with policy auto";
  }
  const auto costs = costs_beside(dir, summary.packed->weights_id);
  if (!costs.ok()) {
    table.why_no_costs = costs.status().message();
    return table;
  }
  table.costs = costs.value();
  const DecodeWork work = work_of(summary);
  for (BudgetLine& line : table.lines) line.decode = estimate_decode(*table.costs, work, line.hit_rate);
  return table;
}

void print_budgets(const BudgetTable& table) {
  const auto gb = [](double bytes) { return bytes * 1e-9; };
  std::printf("\n%-14s %11s %11s %9s %12s %12s %10s\n", "expert memory", "experts GB", "in all GB", "hit rate",
              "compute ms", "reading ms", "tokens/s");
  for (const BudgetLine& line : table.lines) {
    std::printf("%13d%% %11.3f %11.3f %7.1f %%", line.percent, gb(static_cast<double>(line.expert_bytes)),
                gb(static_cast<double>(line.memory_bytes)), 100 * line.hit_rate);
    if (table.costs) {
      std::printf(" %12.2f %12.2f %10.2f\n", line.decode.compute_seconds * 1e3, line.decode.read_seconds * 1e3,
                  line.decode.tokens_per_second());
    } else {
      std::printf(" %12s %12s %10s\n", "-", "-", "-");
    }
  }
  std::printf("hit rate by %s\n", table.hits_by.c_str());
  if (table.costs) {
    std::printf("tokens/s of one sequence, one over the longer of computing and reading; by %s\n",
                costs_text(*table.costs).c_str());
  } else {
    std::printf("no tokens/s: %s\n", table.why_no_costs.c_str());
  }
}

nlohmann::ordered_json budgets_json(const BudgetTable& table) {
  nlohmann::ordered_json lines = nlohmann::ordered_json::array();
  for (const BudgetLine& line : table.lines) {
    nlohmann::ordered_json one = {{"percent", line.percent},
                                  {"expert_bytes", line.expert_bytes},
                                  {"memory_bytes", line.memory_bytes},
                                  {"hit_rate", line.hit_rate}};
    if (table.costs) {
      one["compute_seconds"] = line.decode.compute_seconds;
      one["read_seconds"] = line.decode.read_seconds;
      one["tokens_per_second"] = line.decode.tokens_per_second();
    }
    lines.push_back(std::move(one));
  }
  return {{"hits_by", table.hits_by}, {"budgets", lines}};
}

}  // namespace foregate
