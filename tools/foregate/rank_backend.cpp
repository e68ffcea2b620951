#include "tools/foregate/rank_backend.h"

#include <deque>
#include <memory>

#include "kernels/registry/registry.h"

namespace foregate {

MakeRankBackend cpu_rank_backend() {
  return [backends = std::make_shared<std::deque<Backend>>()](const std::string& isa, int threads) {
    std::string error;
    const Backend& made = backends->emplace_back(make_backend({.isa = isa, .threads = threads}, &error));
    return RankBackend{made.device.get(), &made.ops, error};
  };
}

}  // namespace foregate
