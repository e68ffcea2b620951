#include "tools/foregate/model_costs.h"

#include "engine/model/cost_keeper.h"
#include "engine/runtime/machine_name.h"
#include "kernels/registry/registry.h"

namespace foregate {

Result<CostModel> costs_beside(const std::string& dir, std::uint64_t weights_id) {
  ASSIGN_OR_RETURN(const auto entries, load_costs(dir, weights_id));
  std::string error;
  const Backend backend = make_backend({}, &error);
  const std::string here = machine_name(backend.isa, backend.threads);
  if (const CostModel* costs = find_costs(entries, here)) return *costs;
  const std::string processor = here.substr(0, here.find(", "));
  for (const CostEntry& entry : entries) {
    if (entry.machine.starts_with(processor)) return entry.costs;
  }
  return not_found(dir + " has no measured costs of this machine (" + here +
                   "): `foregate serve` measures them at the first start with --expert-memory");
}

}  // namespace foregate
