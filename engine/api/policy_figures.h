// What a tier that chooses between policies for itself found out. Plain figures; counters never fall.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace foregate {

inline constexpr std::array<std::string_view, 3> kShadowPolicies = {"score", "lru", "lfu"};

struct PolicyFigures {
  std::string_view now;           // the policy that decides; of static storage
  std::uint64_t switches = 0;     // times that it became another one
  std::uint64_t shadow_uses = 0;  // experts that the sampled layers needed; 0: none are sampled
  std::array<std::uint64_t, kShadowPolicies.size()> shadow_hits{};  // that each policy would have had in memory
};

}  // namespace foregate
