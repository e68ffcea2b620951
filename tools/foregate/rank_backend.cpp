#include "tools/foregate/rank_backend.h"

#include <deque>
#include <memory>

#include "kernels/registry/gpu.h"
#include "kernels/registry/registry.h"

namespace foregate {

MakeRankBackend rank_backends() {
  return [backends = std::make_shared<std::deque<Backend>>()](const RankBackendWish& wish) {
    std::string error;
    const Backend& made = backends->emplace_back(
        wish.gpu >= 0 ? make_gpu_backend({.module = wish.cuda_module, .ordinal = wish.gpu, .wraps = true}, &error)
                      : make_backend({.isa = wish.isa, .threads = wish.threads}, &error));
    return RankBackend{made.device.get(), &made.ops, error};
  };
}

}  // namespace foregate
