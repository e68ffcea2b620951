// foregate inspect MODEL: what a model is, what it weighs, and what serving it takes. Reads headers
// only; with --verify also the weights of a packed model.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/base/checksum.h"
#include "engine/experts/dense_plan.h"
#include "engine/model/summary.h"
#include "engine/runtime/expert_memory.h"
#include "engine/weights/packed_reader.h"
#include "tools/foregate/commands.h"
#include "tools/foregate/inspect_budgets.h"
#include "tools/foregate/progress.h"

namespace foregate {
namespace {

struct InspectOptions {
  std::string model;
  std::string quantization = "none";
  std::int32_t sequences = 32;
  std::int32_t context = 0;
  bool json = false;
  bool verify = false;
  std::string trace;
  std::string dense_memory = "all";
};

// Units of a packed model that do not have their checksums.
struct Damage {
  bool looked = false;
  std::vector<std::string> faults;
};

struct MemoryPlan {
  std::int64_t weights = 0;
  std::int64_t kv_per_position = 0;
  std::int64_t context = 0;
  std::int64_t sequences = 0;
  std::int64_t kv = 0;
  DensePlan dense;                // of a packed model
  std::int64_t dense_layers = 0;  // bytes of the dense weights of layers
  std::int64_t dense_least = 0;   // the least window for them
  std::int64_t total() const { return weights + kv; }
};

// Takes what passes through a window off the weights.
Status plan_dense(const PackedFacts& packed, const std::string& word, MemoryPlan& plan) {
  std::uint64_t all = 0;
  std::uint64_t largest = 0;
  for (const std::uint64_t bytes : packed.layer_bytes) {
    all += bytes;
    largest = std::max(largest, bytes);
  }
  ASSIGN_OR_RETURN(const auto budget, choose_dense_memory(word, all));
  ASSIGN_OR_RETURN(plan.dense, plan_dense_window(packed.layer_bytes, budget.value_or(all)));
  plan.dense_layers = static_cast<std::int64_t>(all);
  plan.dense_least = static_cast<std::int64_t>(std::min(all, kDenseSlots * largest));
  plan.weights -= static_cast<std::int64_t>(all - plan.dense.bytes);
  return {};
}

Result<MemoryPlan> plan_memory(const ModelSummary& summary, const InspectOptions& options) {
  MemoryPlan plan;
  plan.weights = summary.total.packed_bytes;
  plan.kv_per_position = summary.kv_bytes_per_position;
  plan.context = options.context > 0 ? options.context : summary.config.max_positions;
  plan.sequences = options.sequences;
  plan.kv = plan.kv_per_position * plan.context * plan.sequences;
  if (summary.packed) RETURN_IF_ERROR(plan_dense(*summary.packed, options.dense_memory, plan));
  return plan;
}

std::string human(std::int64_t bytes) {
  char text[32];
  const auto value = static_cast<double>(bytes);
  if (bytes >= 1'000'000'000) {
    std::snprintf(text, sizeof text, "%.2f GB", value * 1e-9);
  } else if (bytes >= 1'000'000) {
    std::snprintf(text, sizeof text, "%.2f MB", value * 1e-6);
  } else {
    std::snprintf(text, sizeof text, "%.2f kB", value * 1e-3);
  }
  return text;
}

std::string joined(const std::set<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " + ") + word;
  return text;
}

std::string attention_text(const ModelConfig& c) {
  return std::to_string(c.heads) + " query heads, " + std::to_string(c.kv_heads) + " key-value heads, width " +
         std::to_string(c.head_dim);
}

std::string experts_text(const ModelConfig& c) {
  if (c.router.experts == 0) return "none (dense)";
  std::int32_t sparse = 0;
  std::int32_t width = 0;
  for (const LayerConfig& layer : c.layers) {
    if (!layer.sparse) continue;
    ++sparse;
    width = layer.ffn_intermediate;
  }
  std::string text = std::to_string(c.router.experts) + " per layer, top-" + std::to_string(c.router.top_k) +
                     ", intermediate " + std::to_string(width) + ", in " + std::to_string(sparse) + " of " +
                     std::to_string(c.layers.size()) + " layers";
  if (c.shared_intermediate > 0) text += ", shared expert of " + std::to_string(c.shared_intermediate);
  return text;
}

void print_dense(const MemoryPlan& plan) {
  if (plan.dense_layers == 0) return;
  if (plan.dense.layers_streamed() == 0) {
    std::printf("dense weights  of layers %s, all in memory; --dense-memory lets them pass through %s or more\n",
                human(plan.dense_layers).c_str(), human(plan.dense_least).c_str());
    return;
  }
  std::printf("dense weights  of layers %s, %s of them in memory: %zu of %zu layers pass through, %s read a step\n",
              human(plan.dense_layers).c_str(), human(static_cast<std::int64_t>(plan.dense.bytes)).c_str(),
              plan.dense.layers_streamed(), plan.dense.streamed.size(),
              human(static_cast<std::int64_t>(plan.dense.step_bytes)).c_str());
}

void print_packed(const PackedFacts& packed, const Damage& damage) {
  std::printf("packed         layout %s, version %u, quantization %s, weights %s\n", packed.layout.c_str(),
              kPackedVersion, packed.quantization.c_str(), checksum_text(packed.weights_id).c_str());
  std::printf("units          %zu, %zu of them experts, %s\n", packed.units, packed.experts,
              human(static_cast<std::int64_t>(packed.data_bytes)).c_str());
  for (const PackedDataFile& file : packed.files) {
    std::printf("file           %s, %s\n", file.name.c_str(), human(static_cast<std::int64_t>(file.bytes)).c_str());
  }
  if (!damage.looked) {
    std::printf("checksums      not compared (--verify does)\n\n");
  } else {
    std::printf("checksums      %zu of %zu units hold\n\n", packed.units - damage.faults.size(), packed.units);
  }
}

void print_text(const ModelSummary& summary, const MemoryPlan& plan, const Damage& damage) {
  const ModelConfig& c = summary.config;
  std::printf("architecture   %s (%s)\n", c.arch->model_type, c.dtype.c_str());
  std::printf("layers         %zu, hidden %d, vocabulary %d%s\n", c.layers.size(), c.hidden_size, c.vocab_size,
              c.tied_embeddings ? ", tied embeddings" : "");
  std::printf("attention      %s\n", attention_text(c).c_str());
  std::printf("experts        %s\n", experts_text(c).c_str());
  std::printf("context        %d positions\n", c.max_positions);
  std::printf("parameters     %.2f M, %.2f M active per token\n", static_cast<double>(summary.total.parameters) * 1e-6,
              static_cast<double>(summary.total.active) * 1e-6);
  if (summary.packed) {
    print_packed(*summary.packed, damage);
  } else {
    std::printf("files          %zu, %s\n\n", summary.shards, human(summary.total.file_bytes).c_str());
  }
  std::printf("%-16s %8s %11s %11s %11s  %s\n", "group", "tensors", "in files", "in memory", "per token",
              "stored -> packed");
  const auto row = [](const char* name, const GroupSize& g, const std::string& formats) {
    std::printf("%-16s %8lld %11s %11s %11s  %s\n", name, static_cast<long long>(g.tensors),
                human(g.file_bytes).c_str(), human(g.packed_bytes).c_str(), human(g.read_per_token).c_str(),
                formats.c_str());
  };
  for (std::size_t i = 0; i < kWeightGroups; ++i) {
    const GroupSize& g = summary.groups[i];
    const char* name = weight_group_name(static_cast<WeightGroup>(i));
    if (g.tensors > 0) row(name, g, joined(g.stored) + " -> " + joined(g.packed));
  }
  row("total", summary.total, "");
  if (summary.expert_packed_bytes > 0) std::printf("one expert     %s\n", human(summary.expert_packed_bytes).c_str());
  std::printf("\nmemory plan    weights %s + KV cache %s (%lld sequences x %lld positions x %s in %s) = %s\n",
              human(plan.weights).c_str(), human(plan.kv).c_str(), static_cast<long long>(plan.sequences),
              static_cast<long long>(plan.context), human(plan.kv_per_position).c_str(), dtype_name(summary.kv_type),
              human(plan.total()).c_str());
  print_dense(plan);
}

nlohmann::ordered_json packed_json(const PackedFacts& packed, const Damage& damage) {
  nlohmann::ordered_json json = {{"layout", packed.layout},
                                 {"version", kPackedVersion},
                                 {"quantization", packed.quantization},
                                 {"weights", checksum_text(packed.weights_id)},
                                 {"data_bytes", packed.data_bytes},
                                 {"units", packed.units},
                                 {"experts", packed.experts},
                                 {"files", nlohmann::ordered_json::array()}};
  for (const PackedDataFile& file : packed.files) json["files"].push_back({{"name", file.name}, {"bytes", file.bytes}});
  if (damage.looked) json["damaged_units"] = damage.faults.size();
  return json;
}

void print_json(const ModelSummary& summary, const MemoryPlan& plan, const Damage& damage,
                const std::optional<BudgetTable>& budgets) {
  const ModelConfig& c = summary.config;
  nlohmann::ordered_json groups = nlohmann::ordered_json::object();
  const auto group_json = [](const GroupSize& g) {
    return nlohmann::ordered_json{{"tensors", g.tensors},
                                  {"parameters", g.parameters},
                                  {"active_parameters", g.active},
                                  {"file_bytes", g.file_bytes},
                                  {"memory_bytes", g.packed_bytes},
                                  {"bytes_read_per_token", g.read_per_token},
                                  {"stored", g.stored},
                                  {"packed", g.packed}};
  };
  for (std::size_t i = 0; i < kWeightGroups; ++i) {
    groups[weight_group_name(static_cast<WeightGroup>(i))] = group_json(summary.groups[i]);
  }
  nlohmann::ordered_json report = {{"architecture", c.arch->model_type},
                                   {"dtype", c.dtype},
                                   {"layers", c.layers.size()},
                                   {"hidden_size", c.hidden_size},
                                   {"vocab_size", c.vocab_size},
                                   {"heads", c.heads},
                                   {"kv_heads", c.kv_heads},
                                   {"head_dim", c.head_dim},
                                   {"experts", c.router.experts},
                                   {"top_k", c.router.top_k},
                                   {"max_positions", c.max_positions},
                                   {"groups", groups},
                                   {"total", group_json(summary.total)},
                                   {"expert_bytes", summary.expert_packed_bytes},
                                   {"memory_plan",
                                    {{"weights_bytes", plan.weights},
                                     {"kv_bytes_per_position", plan.kv_per_position},
                                     {"sequences", plan.sequences},
                                     {"positions", plan.context},
                                     {"kv_bytes", plan.kv},
                                     {"total_bytes", plan.total()}}}};
  if (summary.packed) {
    report["packed"] = packed_json(*summary.packed, damage);
    report["memory_plan"]["dense_window"] = {{"layer_bytes", plan.dense_layers},
                                             {"least_bytes", plan.dense_least},
                                             {"memory_bytes", plan.dense.bytes},
                                             {"layers_streamed", plan.dense.layers_streamed()},
                                             {"step_bytes", plan.dense.step_bytes}};
  }
  if (budgets) report["expert_memory"] = budgets_json(*budgets);
  std::printf("%s\n", report.dump(2).c_str());
}

Status look_for_damage(const std::string& dir, Damage& damage) {
  ASSIGN_OR_RETURN(const PackedModel model, PackedModel::open(local_files(), dir));
  ProgressBar bar;
  std::vector<Status> each;
  (void)verify_packed(
      model,
      [&bar](std::uint64_t done, std::uint64_t total) {
        bar.show("verify", static_cast<double>(done) / static_cast<double>(total));
      },
      &each);
  damage.looked = true;
  for (const Status& status : each) {
    if (!status.ok()) damage.faults.push_back(status.to_string());
  }
  return {};
}

int fail(const Status& status) {
  std::fprintf(stderr, "foregate inspect: %s\n", status.to_string().c_str());
  return 1;
}

}  // namespace

int inspect_command(int argc, char** argv) {
  InspectOptions options;
  CLI::App app("What a model is and what serving it takes", "foregate inspect");
  app.add_option("model", options.model, "model directory or GGUF file")->required();
  app.add_option("-q,--quantization", options.quantization, "as serve would pack the weights")
      ->check(CLI::IsMember({"none", "q8_0", "q4_0", "q4_k"}));
  app.add_option("--max-num-seqs", options.sequences, "sequences of the memory plan")->check(CLI::Range(1, 1 << 16));
  app.add_option("-c,--max-model-len", options.context, "positions of each; 0: what the model allows")
      ->check(CLI::Range(0, 1 << 30));
  app.add_option("--dense-memory", options.dense_memory, "as serve takes it, of a packed model");
  app.add_flag("--json", options.json, "print JSON");
  app.add_flag("--verify", options.verify, "read a packed model and compare its checksums");
  app.add_option("--trace", options.trace, "hit rates by a replay of this trace (foregate trace record)");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int shown = app.exit(error);
    return shown == 0 ? 0 : 2;
  }
  const auto summary = summarize(local_files(), options.model, {quantization_named(options.quantization)});
  if (!summary.ok()) return fail(summary.status());
  if (!options.trace.empty() && !(summary->packed && summary->packed->experts > 0)) {
    return fail(invalid_argument(options.model + " is not packed, or has no experts: a trace says nothing of it"));
  }
  Damage damage;
  if (options.verify) {
    if (!summary->packed) return fail(invalid_argument(options.model + " is not packed: it has no checksums"));
    if (const Status status = look_for_damage(options.model, damage); !status.ok()) return fail(status);
  }
  const auto planned = plan_memory(summary.value(), options);
  if (!planned.ok()) return fail(planned.status());
  const MemoryPlan& plan = planned.value();
  std::optional<BudgetTable> budgets;
  if (summary->packed && summary->packed->experts > 0) {
    auto made = plan_budgets(summary.value(), options.model, plan.kv, options.trace);
    if (!made.ok()) return fail(made.status());
    budgets = std::move(made).value();
  }
  options.json ? print_json(summary.value(), plan, damage, budgets) : print_text(summary.value(), plan, damage);
  if (budgets && !options.json) print_budgets(*budgets);
  for (const std::string& fault : damage.faults) std::fprintf(stderr, "foregate inspect: %s\n", fault.c_str());
  return damage.faults.empty() ? 0 : 1;
}

}  // namespace foregate
