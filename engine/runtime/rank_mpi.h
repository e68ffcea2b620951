// Ranks of a job that mpirun or srun started: rank 0 sends each of the others its setup over MPI, and rows from then
// on. One that is lost fails what needs it; its successor is a process of rank 0's machine, since nobody can be added
// to an MPI job that runs.
#pragma once

#include <memory>

#include "engine/base/status.h"
#include "engine/comm/mpi_job.h"
#include "engine/runtime/rank_life.h"
#include "engine/runtime/rank_setup.h"
#include "engine/runtime/rank_team.h"

namespace foregate {

// A rank's process of the job the first time it is asked for, after that what `successor` launches.
RankLauncher mpi_launcher(std::shared_ptr<MpiJob> job, RankSetup setup, RankLauncher successor);

// The life of a rank other than 0 of the job, until rank 0 ends it or is silent. Not ok when it failed.
Status run_mpi_rank(MpiJob& job, const MakeRankBackend& make_backend);

}  // namespace foregate
