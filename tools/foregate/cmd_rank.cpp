// foregate rank: the process of one more rank. `foregate serve --expert-parallel-size` starts it and talks to it over
// what it inherits; people have no use for it.
#include "engine/base/log.h"
#include "engine/runtime/rank_process.h"
#include "tools/foregate/commands.h"
#include "tools/foregate/rank_backend.h"

namespace foregate {

int rank_command(int, char**) {
  const Status ended = run_rank_process(rank_backends());
  if (ended.ok()) return 0;
  log_error("this rank ends: " + ended.to_string());
  return ended.code() == Code::kInvalidArgument ? 2 : 1;
}

}  // namespace foregate
