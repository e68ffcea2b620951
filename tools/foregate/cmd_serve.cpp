#include <cstdio>
#include <memory>
#include <string>

#include "engine/base/log.h"
#include "engine/comm/mpi_job.h"
#include "engine/runtime/rank_mpi.h"
#include "server/app/app.h"
#include "server/config/limits_table.h"
#include "server/config/options.h"
#include "tools/foregate/commands.h"
#include "tools/foregate/rank_backend.h"

namespace foregate {
namespace {

int serve_in_job(ServeOptions options, const std::shared_ptr<MpiJob>& job) {
  int code = 0;
  if (job->rank() > 0) {
    code = run_mpi_rank(*job, rank_backends()).ok() ? 0 : 1;
  } else {
    if (options.expert_parallel_size == ServeOptions().expert_parallel_size) options.expert_parallel_size = job->size();
    log_info("rank 0 of " + std::to_string(job->size()) + " processes of MPI");
    code = run_server(options, engine_loader(job));
  }
  job->leave();
  return code;
}

}  // namespace

int serve_command(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--print-default-config") return std::fputs(default_yaml().c_str(), stdout), 0;
    if (word == "--print-limits") return std::fputs(limits_markdown().c_str(), stdout), 0;
  }
  const auto parsed = parse_serve_options(argc, argv, process_environment());
  if (!parsed.ok()) {
    std::fprintf(stderr, "foregate serve: %s\n(foregate serve --help lists all options)\n",
                 parsed.status().message().c_str());
    return 2;
  }
  if (parsed.value().help) {
    std::fputs(serve_help().c_str(), stdout);
    return 0;
  }
  const ServeOptions& options = parsed.value().options;
  const bool in_job = options.rank_launcher == "auto" && started_by_mpi(process_environment());
  if (!in_job && options.rank_launcher != "mpi") return run_server(options, engine_loader());
  const auto job = MpiJob::join(options.mpi_module);
  if (job.ok()) return serve_in_job(options, job.value());
  std::fprintf(stderr, "foregate serve: --rank-launcher mpi: %s\n", job.status().message().c_str());
  return 1;
}

}  // namespace foregate
