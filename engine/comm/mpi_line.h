// A RankLine over MPI. A message is one MPI message: the body, then the header of message.h. On a deadline the line is
// closed and what MPI still has of it is kept by the job.
#pragma once

#include <memory>

#include "engine/comm/mpi_job.h"

namespace foregate {

// Between this rank and `peer`.
std::shared_ptr<RankLine> mpi_line(std::shared_ptr<MpiJob> job, std::int32_t peer);

}  // namespace foregate
