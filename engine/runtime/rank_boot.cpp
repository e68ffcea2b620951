#include "engine/runtime/rank_boot.h"

#include <algorithm>
#include <string>
#include <vector>

#include "engine/base/log.h"
#include "engine/io/file.h"
#include "engine/model/exchange_parts.h"
#include "engine/model/rank_experts.h"
#include "engine/placement/plan_file.h"
#include "engine/runtime/memory_plan.h"
#include "engine/runtime/rank_mpi.h"
#include "engine/runtime/rank_process.h"

namespace foregate {

namespace {

// Rows that move find the weights of every rank in its memory, and experts where the plan says.
Status check_weights_stay(const BootOptions& options) {
  const std::string with = "--exchange " + options.exchange + " does not go with ";
  if (options.expert_memory != "all" && options.expert_memory != "auto") {
    return unimplemented(with + "--expert-memory " + options.expert_memory, "exchange");
  }
  if (options.dense_memory != "all") return unimplemented(with + "--dense-memory " + options.dense_memory, "exchange");
  if (options.placement == "auto") return unimplemented(with + "--placement auto", "exchange");
  return {};
}

// A store runs a layer once a step, a window of dense weights one layer at a time.
Status check_halves(const BootOptions& options) {
  const std::string with = "--exchange-overlap halves does not go with ";
  if (options.expert_memory != "all" && options.expert_memory != "auto") {
    return unimplemented(with + "--expert-memory " + options.expert_memory, "exchange_overlap");
  }
  if (options.dense_memory != "all") {
    return unimplemented(with + "--dense-memory " + options.dense_memory, "exchange_overlap");
  }
  if (options.placement == "auto") return unimplemented(with + "--placement auto", "exchange_overlap");
  return {};
}

// A rank's experts are in the memory of its GPU, and the dense weights in that of rank 0's.
Status check_ranks_on_gpus(const BootOptions& options) {
  const auto refuse = [](const std::string& what, const char* field) {
    return unimplemented("--expert-parallel-size with --device cuda does not go with " + what, field);
  };
  if (options.exchange != "two-all-to-alls") return refuse("--exchange " + options.exchange, "exchange");
  if (options.placement == "auto") return refuse("--placement auto", "placement");
  if (options.expert_memory != "all" && options.expert_memory != "auto") {
    return refuse("--expert-memory " + options.expert_memory, "expert_memory");
  }
  if (options.expert_device_memory != "all" && options.expert_device_memory != "auto") {
    return refuse("--expert-device-memory " + options.expert_device_memory, "expert_device_memory");
  }
  if (options.exchange_overlap != "off")
    return refuse("--exchange-overlap " + options.exchange_overlap, "exchange_overlap");
  if (options.cpu_moe) return refuse("--cpu-moe", "cpu_moe");
  if (options.n_cpu_moe > 0) return refuse("--n-cpu-moe", "n_cpu_moe");
  return {};
}

}  // namespace

Status check_rank_options(const BootOptions& options) {
  if (options.expert_parallel_size < 1 || options.expert_parallel_size > 64) {
    return invalid_argument("expert_parallel_size must be between 1 and 64", "expert_parallel_size");
  }
  if (options.mpi_job != nullptr && options.mpi_job->size() != options.expert_parallel_size) {
    return invalid_argument("expert_parallel_size is " + std::to_string(options.expert_parallel_size) + ", and " +
                                std::to_string(options.mpi_job->size()) + " processes of MPI were started",
                            "expert_parallel_size");
  }
  ASSIGN_OR_RETURN(const ExchangeMode exchange, exchange_mode_named(options.exchange));
  ASSIGN_OR_RETURN(const OverlapMode overlap, overlap_mode_named(options.exchange_overlap));
  if (options.expert_parallel_size == 1) return {};
  if (overlap == OverlapMode::kHalves) RETURN_IF_ERROR(check_halves(options));
  if (exchange != ExchangeMode::kTwoAllToAlls) RETURN_IF_ERROR(check_weights_stay(options));
  ASSIGN_OR_RETURN(const ExchangeTransport transport, exchange_transport_named(options.exchange_transport));
  if (options.device == "cuda") {
    RETURN_IF_ERROR(check_ranks_on_gpus(options));
  } else if (transport == ExchangeTransport::kNccl) {
    return invalid_argument("nccl is between GPUs: it needs --device cuda", "exchange_transport");
  }
  if (options.lookahead == "always" || options.lookahead == "shadow") {
    return unimplemented(
        "--expert-parallel-size guesses no experts ahead; it does not go with --lookahead " + options.lookahead,
        "lookahead");
  }
  return {};
}

Result<PlacementPlan> choose_placement(const BootOptions& options, const ModelConfig& config) {
  if (config.router.experts == 0) return invalid_argument("the model has no experts to share", "expert_parallel_size");
  std::vector<std::int32_t> experts;
  for (const LayerConfig& layer : config.layers) experts.push_back(layer.sparse ? config.router.experts : 0);
  const std::int32_t ranks = options.expert_parallel_size;
  if (options.placement == "linear" || options.placement == "auto") return PlacementPlan::linear(ranks, experts);
  if (options.placement == "round-robin") return PlacementPlan::round_robin(ranks, experts);
  ASSIGN_OR_RETURN(const std::string text, read_text(local_files(), options.placement, kMaxPlanBytes));
  ASSIGN_OR_RETURN(PlacementPlan plan, parse_plan(text));
  RETURN_IF_ERROR(check_plan_fits(plan, config));
  if (plan.ranks() == ranks) return plan;
  return invalid_argument(options.placement + " is for " + std::to_string(plan.ranks()) +
                              " ranks, --expert-parallel-size is " + std::to_string(ranks),
                          "placement");
}

std::int32_t ranks_sharing_cores(const BootOptions& options) {
  return options.mpi_job != nullptr ? options.mpi_job->ranks_sharing_cores() : options.expert_parallel_size;
}

namespace {

// "auto" is "all": each rank has only its part. Where experts move while the server runs, each has a store, with room
// for a quarter more than its part.
Result<std::vector<std::uint64_t>> rank_budgets(const BootOptions& options, const ModelSummary& summary,
                                                const PlacementPlan& plan) {
  const bool all = options.expert_memory == "all" || options.expert_memory == "auto";
  if (all && options.placement != "auto") return std::vector<std::uint64_t>();
  const ExpertMemoryFacts whole = memory_facts(options, summary, 0, 0);
  std::uint64_t experts = 0;
  std::vector<std::uint64_t> held(static_cast<std::size_t>(plan.ranks()), 0);
  for (std::int32_t layer = 0; layer < static_cast<std::int32_t>(plan.layers()); ++layer) {
    experts += static_cast<std::uint64_t>(plan.experts(LayerId{layer}));
    for (std::int32_t r = 0; r < plan.ranks(); ++r) {
      held[static_cast<std::size_t>(r)] += plan.held(RankId{r}, LayerId{layer}).size();
    }
  }
  std::vector<std::uint64_t> budgets;
  for (const std::uint64_t own : held) {
    ExpertMemoryFacts facts = whole;
    facts.expert_bytes = whole.expert_bytes / std::max<std::uint64_t>(experts, 1) * own;
    ASSIGN_OR_RETURN(const auto bytes, choose_expert_memory(all ? "all" : options.expert_memory, facts));
    budgets.push_back(own == 0 ? 0 : bytes.value_or(facts.expert_bytes + facts.expert_bytes / 4));
  }
  return budgets;
}

std::unique_ptr<PlacementKeeper> make_keeper(const BootOptions& options, const RankPlan& ranks,
                                             const std::string& model_name) {
  PlacementOptions keeper;
  keeper.interval = static_cast<TimeNs>(options.placement_interval_seconds * 1e9);
  keeper.replan.max_moves = static_cast<std::size_t>(options.placement_moves);
  keeper.replan.copies = options.placement_copies;
  keeper.model_name = model_name;
  return std::make_unique<PlacementKeeper>(*ranks.placement, ranks.layers, ranks.top_k, keeper, options.metrics);
}

}  // namespace

namespace {

// What stands against NCCL at once is said here, once for all ranks.
Result<PeerPolicy> peer_policy(const BootOptions& options, Device* gpu) {
  PeerPolicy policy;
  if (gpu == nullptr) return policy;
  ASSIGN_OR_RETURN(const ExchangeTransport transport, exchange_transport_named(options.exchange_transport));
  if (transport == ExchangeTransport::kLine) {
    log_info("rows between ranks go through host memory and the line: --exchange-transport line");
    return policy;
  }
  policy.library = options.nccl_library;
  policy.required = transport == ExchangeTransport::kNccl;
  policy.answer_limit = static_cast<TimeNs>(options.step_limit_seconds * 1e9);
  if (const std::string missing = gpu->peers_missing(options.nccl_library); !missing.empty()) {
    if (policy.required) return unavailable("--exchange-transport nccl: " + missing);
    log_warn("rows between ranks go through host memory and the line, not by NCCL: " + missing);
    return policy;
  }
  policy.device = gpu;
  return policy;
}

}  // namespace

Result<RankPlan> plan_ranks(const BootOptions& options, const ModelSummary& summary) {
  if (options.expert_parallel_size == 1) return RankPlan();
  RankPlan ranks;
  ASSIGN_OR_RETURN(ranks.placement, choose_placement(options, summary.config));
  if (options.exchange != "two-all-to-alls") RETURN_IF_ERROR(RowTravel::check(summary.config));
  for (std::int32_t layer = 0; layer < static_cast<std::int32_t>(ranks.placement->layers()); ++layer) {
    if (ranks.placement->experts(LayerId{layer}) > 0) ranks.layers.push_back(LayerId{layer});
  }
  ranks.top_k = summary.config.router.top_k;
  ASSIGN_OR_RETURN(ranks.expert_bytes, rank_budgets(options, summary, *ranks.placement));
  return ranks;
}

Result<std::unique_ptr<RankTeam>> start_ranks(const BootOptions& options, const RankPlan& ranks, int threads, int cores,
                                              const std::string& model_name, Device* gpu) {
  if (!ranks.placement) return std::unique_ptr<RankTeam>();
  ASSIGN_OR_RETURN(const PeerPolicy peers, peer_policy(options, gpu));
  const RankSetup setup{.model = options.model,
                        .quantization = options.quantization,
                        .isa = options.isa,
                        .threads = threads,
                        .verify_weights = options.verify_weights,
                        .max_rows = options.max_num_batched_tokens,
                        .expert_bytes = ranks.expert_bytes,
                        .expert_policy = options.expert_policy,
                        .expert_warm = options.expert_warm,
                        .prompt_read_ahead = options.prompt_read_ahead,
                        .rows_move = options.exchange != "two-all-to-alls",
                        .halves = options.exchange_overlap == "halves" || options.exchange_overlap == "auto",
                        .on_gpu = gpu != nullptr,
                        .cuda_module = options.cuda_module,
                        .calls_peers = peers.device != nullptr,
                        .nccl_library = options.nccl_library,
                        .plan = plan_text(*ranks.placement, {.model = model_name, .objective = options.placement})};
  RankTeamOptions team;
  team.answer_limit = static_cast<TimeNs>(options.step_limit_seconds * 1e9);
  team.peers = peers;
  team.metrics = options.metrics;
  team.model_name = model_name;
  const bool share_memory = options.rank_line == "shared-memory" ||
                            (options.rank_line == "auto" && threads * ranks_sharing_cores(options) <= cores);
  RankLauncher launcher = process_launcher(options.rank_program, setup, share_memory);
  if (options.mpi_job != nullptr) launcher = mpi_launcher(options.mpi_job, setup, std::move(launcher));
  auto made = std::make_unique<RankTeam>(*ranks.placement, std::move(launcher), team);
  if (options.placement == "auto") made->set_keeper(make_keeper(options, ranks, model_name));
  return made;
}

void share_store(const RankPlan& ranks, ExpertLoading& loading) {
  if (!ranks.placement) return;
  loading.leave_counters = false;
  loading.store.own = [plan = *ranks.placement](ExpertKey key) { return plan.holds(RankId{0}, key.layer, key.expert); };
}

std::string ranks_text(const BootOptions& options) {
  if (options.expert_parallel_size == 1) return {};
  return " of " + std::to_string(options.expert_parallel_size) + " ranks, " + options.placement +
         (options.exchange == "two-all-to-alls" ? "" : ", " + options.exchange) +
         (options.mpi_job != nullptr ? ", over MPI" : "");
}

}  // namespace foregate
