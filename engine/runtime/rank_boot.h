// From options to the ranks of this server: checks that they can be, makes or reads the plan, starts the processes.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/model/model_config.h"
#include "engine/model/store_loader.h"
#include "engine/model/summary.h"
#include "engine/runtime/boot.h"
#include "engine/runtime/rank_team.h"

namespace foregate {

// Refuses, by name, what experts on several ranks do not go with. Nothing with one rank.
Status check_rank_options(const BootOptions& options);
// linear, round-robin, or a plan file that fits the model and the number of ranks.
Result<PlacementPlan> choose_placement(const BootOptions& options, const ModelConfig& config);
// How many ranks compute with the cores that this process may use, itself among them.
std::int32_t ranks_sharing_cores(const BootOptions& options);
// What each rank is to hold.
struct RankPlan {
  std::optional<PlacementPlan> placement;   // none: there is one rank
  std::vector<std::uint64_t> expert_bytes;  // RankSetup::expert_bytes
  std::vector<LayerId> layers;              // with experts
  std::int32_t top_k = 1;
};
// As choose_placement() fails; kInvalidArgument (field expert_memory) for a word that is none.
Result<RankPlan> plan_ranks(const BootOptions& options, const ModelSummary& summary);
// Null with one rank. The ranks load while this one does; `threads`: of each; `cores`: of this process; `gpu`: that
// this one computes on, as the others do on theirs, or null. kUnavailable where NCCL is asked for and there is none.
Result<std::unique_ptr<RankTeam>> start_ranks(const BootOptions& options, const RankPlan& ranks, int threads, int cores,
                                              const std::string& model_name, Device* gpu);
// Of rank 0 among several: its store loads ahead what is its own, and leaves no counters, since it sees not all uses.
void share_store(const RankPlan& ranks, ExpertLoading& loading);
// For the status page: " of 3 ranks, linear"; empty with one.
std::string ranks_text(const BootOptions& options);

}  // namespace foregate
