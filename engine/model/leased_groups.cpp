#include "engine/model/leased_groups.h"

#include <algorithm>

namespace foregate {

Status run_leased(ExpertStore& store, std::span<const std::int32_t> experts, std::span<const ExpertGroup> groups,
                  std::vector<ExpertGroup>& arrived, const std::function<void(std::span<ExpertGroup>)>& run) {
  while (true) {
    ASSIGN_OR_RETURN(const std::vector<Lease> leases, store.next());
    if (leases.empty()) return {};
    arrived.clear();
    for (const Lease& lease : leases) {
      const auto at = std::lower_bound(experts.begin(), experts.end(), lease.expert().value);
      arrived.push_back(groups[static_cast<std::size_t>(at - experts.begin())]);
      arrived.back().weights = lease.weights();
    }
    run(arrived);  // the leases end here
  }
}

}  // namespace foregate
