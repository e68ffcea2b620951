// Expert groups whose weights come from a store: run as their leases are handed out. What moe_offload.h, the exchange
// and a rank have in common.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "engine/base/status.h"
#include "engine/experts/expert_store.h"
#include "kernels/api/args_moe.h"

namespace foregate {

// After ExpertStore::begin() of the layer: calls `run` with the groups whose experts came together, weights set, until
// each has run once; `run` returns when they are computed. `experts`, ascending, says whose groups they are; `arrived`
// is working memory. As ExpertStore::next() fails.
Status run_leased(ExpertStore& store, std::span<const std::int32_t> experts, std::span<const ExpertGroup> groups,
                  std::vector<ExpertGroup>& arrived, const std::function<void(std::span<ExpertGroup>)>& run);

}  // namespace foregate
