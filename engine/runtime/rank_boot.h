// From options to the ranks of this server: checks that they can be, makes or reads the plan, starts the processes.
#pragma once

#include <memory>

#include "engine/base/status.h"
#include "engine/model/model_config.h"
#include "engine/runtime/boot.h"
#include "engine/runtime/rank_team.h"

namespace foregate {

// Refuses, by name, what experts on several ranks do not go with. Nothing with one rank.
Status check_rank_options(const BootOptions& options);
// linear, round-robin, or a plan file that fits the model and the number of ranks.
Result<PlacementPlan> choose_placement(const BootOptions& options, const ModelConfig& config);
// How many ranks compute with the cores that this process may use, itself among them.
std::int32_t ranks_sharing_cores(const BootOptions& options);
// Null with one rank. The ranks load while this one does; `threads`: of each.
Result<std::unique_ptr<RankTeam>> start_ranks(const BootOptions& options, const ModelConfig& config, int threads,
                                              const std::string& model_name);

}  // namespace foregate
