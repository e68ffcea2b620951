#include "engine/runtime/rank_boot.h"

#include <string>
#include <vector>

#include "engine/io/file.h"
#include "engine/model/rank_experts.h"
#include "engine/placement/plan_file.h"
#include "engine/runtime/rank_mpi.h"
#include "engine/runtime/rank_process.h"

namespace foregate {

Status check_rank_options(const BootOptions& options) {
  if (options.expert_parallel_size < 1 || options.expert_parallel_size > 64) {
    return invalid_argument("expert_parallel_size must be between 1 and 64", "expert_parallel_size");
  }
  if (options.mpi_job != nullptr && options.mpi_job->size() != options.expert_parallel_size) {
    return invalid_argument("expert_parallel_size is " + std::to_string(options.expert_parallel_size) + ", and " +
                                std::to_string(options.mpi_job->size()) + " processes of MPI were started",
                            "expert_parallel_size");
  }
  if (options.expert_parallel_size == 1) return {};
  if (options.device == "cuda") {
    return unimplemented("--expert-parallel-size computes on the CPU; it does not go with --device cuda", "device");
  }
  if (options.expert_memory != "all" && options.expert_memory != "auto") {
    return unimplemented("--expert-parallel-size keeps all experts in memory; it does not go with --expert-memory",
                         "expert_memory");
  }
  if (options.dense_memory != "all") {
    return unimplemented("--expert-parallel-size keeps all weights in memory; it does not go with --dense-memory",
                         "dense_memory");
  }
  if (!options.trace_routes.empty()) {
    return unimplemented("--expert-parallel-size does not go with --trace-routes", "trace_routes");
  }
  return {};
}

Result<PlacementPlan> choose_placement(const BootOptions& options, const ModelConfig& config) {
  if (config.router.experts == 0) return invalid_argument("the model has no experts to share", "expert_parallel_size");
  std::vector<std::int32_t> experts;
  for (const LayerConfig& layer : config.layers) experts.push_back(layer.sparse ? config.router.experts : 0);
  const std::int32_t ranks = options.expert_parallel_size;
  if (options.placement == "linear") return PlacementPlan::linear(ranks, experts);
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

Result<std::unique_ptr<RankTeam>> start_ranks(const BootOptions& options, const ModelConfig& config, int threads,
                                              const std::string& model_name) {
  if (options.expert_parallel_size == 1) return std::unique_ptr<RankTeam>();
  ASSIGN_OR_RETURN(PlacementPlan plan, choose_placement(options, config));
  const RankSetup setup{.model = options.model,
                        .quantization = options.quantization,
                        .isa = options.isa,
                        .threads = threads,
                        .verify_weights = options.verify_weights,
                        .max_rows = options.max_num_batched_tokens,
                        .plan = plan_text(plan, {.model = model_name, .objective = options.placement})};
  RankTeamOptions team;
  team.answer_limit = static_cast<TimeNs>(options.step_limit_seconds * 1e9);
  team.metrics = options.metrics;
  team.model_name = model_name;
  RankLauncher launcher = process_launcher(options.rank_program, setup);
  if (options.mpi_job != nullptr) launcher = mpi_launcher(options.mpi_job, setup, std::move(launcher));
  return std::make_unique<RankTeam>(std::move(plan), std::move(launcher), team);
}

}  // namespace foregate
