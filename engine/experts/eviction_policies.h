// The policies behind make_eviction_policy(), one factory each. Options are already checked.
#pragma once

#include <memory>

#include "engine/experts/eviction.h"

namespace foregate {

std::unique_ptr<EvictionPolicy> make_lru_policy(const EvictionOptions& options);
std::unique_ptr<EvictionPolicy> make_lfu_policy(const EvictionOptions& options);
std::unique_ptr<EvictionPolicy> make_score_policy(const EvictionOptions& options);
std::unique_ptr<EvictionPolicy> make_auto_policy(const EvictionOptions& options);
std::unique_ptr<EvictionPolicy> make_belady_policy(const EvictionOptions& options);

}  // namespace foregate
