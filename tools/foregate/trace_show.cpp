// foregate trace show FILE: how a model routes, on one screen.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "engine/base/checksum.h"
#include "engine/experts/trace_summary.h"
#include "tools/foregate/trace_commands.h"

namespace foregate {
namespace {

void print_text(const TraceInfo& info, const TraceSummary& s) {
  std::printf("model          %s%s, %zu layers with experts, top-%d\n", info.model.c_str(),
              info.weights_id != 0 ? (", weights " + checksum_text(info.weights_id)).c_str() : "", s.layers.size(),
              info.top_k);
  std::printf("steps          %lld, %lld of them decode\n", static_cast<long long>(s.steps),
              static_cast<long long>(s.decode_steps));
  std::printf("rows           %llu of %zu requests, %llu of them decode\n", static_cast<unsigned long long>(s.rows),
              s.requests, static_cast<unsigned long long>(s.decode_rows));
  if (info.slots == 0) {
    std::printf("experts        all in memory\n");
  } else {
    const double asked = static_cast<double>(s.hits) + static_cast<double>(s.misses);
    std::printf("experts        %llu slots, policy %s, began %s: %llu hits, %llu misses (%.1f %% hit)\n",
                static_cast<unsigned long long>(info.slots), info.policy.c_str(),
                info.resident.empty() ? "cold" : "warm", static_cast<unsigned long long>(s.hits),
                static_cast<unsigned long long>(s.misses), asked > 0 ? 100 * static_cast<double>(s.hits) / asked : 0.0);
  }
  std::printf(
      "\nused: experts that any row chose. awake: experts of a decode step. quarter: share of choices that the most\n"
      "used quarter takes (25 %% when even). equal to: experts that would be as uneven if used equally. again: share\n"
      "chosen by the row before too. next: share of the next layer's choices that this layer's foretell, and (in\n"
      "brackets) that the most used ones give anyway.\n\n");
  std::printf("%5s %13s %8s %8s %9s %8s %16s\n", "layer", "used", "awake", "quarter", "equal to", "again", "next");
  for (const LayerSummary& l : s.layers) {
    std::printf("%5d %6d of %3d %8.1f %6.1f %% %9.1f %6.1f %%", l.layer, l.used, l.experts, l.distinct,
                100 * l.top_quarter, l.effective, 100 * l.repeated);
    if (l.next_right > 0) std::printf("  %5.1f %% (%.1f %%)", 100 * l.next_right, 100 * l.next_popular);
    std::printf("\n");
  }
}

void print_json(const TraceInfo& info, const TraceSummary& s) {
  nlohmann::ordered_json layers = nlohmann::ordered_json::array();
  for (const LayerSummary& l : s.layers) {
    layers.push_back({{"layer", l.layer},
                      {"experts", l.experts},
                      {"steps", l.steps},
                      {"assignments", l.assignments},
                      {"used", l.used},
                      {"distinct_per_decode_step", l.distinct},
                      {"top_quarter_share", l.top_quarter},
                      {"effective_experts", l.effective},
                      {"repeated_share", l.repeated},
                      {"next_layer_right", l.next_right},
                      {"next_layer_popular", l.next_popular}});
  }
  const nlohmann::ordered_json report = {{"model", info.model},    {"weights", checksum_text(info.weights_id)},
                                         {"top_k", info.top_k},    {"slots", info.slots},
                                         {"policy", info.policy},  {"began_with", info.resident.size()},
                                         {"steps", s.steps},       {"decode_steps", s.decode_steps},
                                         {"rows", s.rows},         {"decode_rows", s.decode_rows},
                                         {"requests", s.requests}, {"hits", s.hits},
                                         {"misses", s.misses},     {"streamed_layers", s.streamed_layers},
                                         {"layers", layers}};
  std::printf("%s\n", report.dump(2).c_str());
}

}  // namespace

void add_show_options(CLI::App& app, ShowArguments& arguments) {
  app.add_option("trace", arguments.trace, "file that `record` or `serve --trace-routes` wrote")->required();
  app.add_option("-o,--output", arguments.format, "md or json")->check(CLI::IsMember({"md", "json"}));
}

Status run_show(const ShowArguments& arguments) {
  ASSIGN_OR_RETURN(const OpenTrace trace, open_trace(arguments.trace));
  TraceSummarizer sums(trace.info);
  RETURN_IF_ERROR(each_step(trace, [&sums](const TraceStep& step) { sums.add(step); }));
  arguments.format == "json" ? print_json(trace.info, sums.summary()) : print_text(trace.info, sums.summary());
  return {};
}

}  // namespace foregate
