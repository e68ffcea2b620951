// Where the experts of a layer that a device lacks are computed: brought to it, or on the host beside it. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace foregate {

// kFetch: all are brought, so the bits do not depend on what was there. kCompute: none, as far as the host has them.
// kAuto: as split_misses() has it.
enum class MissRule : std::uint8_t { kFetch, kCompute, kAuto };
std::optional<MissRule> miss_rule_named(std::string_view word);  // fetch, cpu, auto

struct Miss {
  double fetch_seconds = 0.0;    // to bring it over the link
  double compute_seconds = 0.0;  // its rows on the host
};

// True for those that the host computes: link and host work beside each other, the longest computation is placed first,
// each on the side that would end it earlier (the device where both would). With a time that is not known, 0, nothing
// is computed on the host.
std::vector<bool> split_misses(std::span<const Miss> misses);

}  // namespace foregate
