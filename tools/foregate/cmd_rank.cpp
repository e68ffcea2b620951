// foregate rank: the process of one more rank. `foregate serve --expert-parallel-size` starts it and talks to it over
// what it inherits; people have no use for it.
#include <string>

#include "engine/base/log.h"
#include "engine/runtime/rank_process.h"
#include "kernels/registry/registry.h"
#include "tools/foregate/commands.h"

namespace foregate {

int rank_command(int, char**) {
  Backend backend;
  const Status ended = run_rank_process([&backend](const std::string& isa, int threads) {
    std::string error;
    backend = make_backend({.isa = isa, .threads = threads}, &error);
    return RankBackend{backend.device.get(), &backend.ops, error};
  });
  if (ended.ok()) return 0;
  log_error("this rank ends: " + ended.to_string());
  return ended.code() == Code::kInvalidArgument ? 2 : 1;
}

}  // namespace foregate
