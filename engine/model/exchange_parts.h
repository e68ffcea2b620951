// How much of an exchange between ranks overlaps with what it waits for: parts of one exchange (Comet,
// arXiv 2502.19811), and two halves of a step that take turns (TokenWeave, arXiv 2505.11329). Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "engine/base/status.h"

namespace foregate {

// kAuto takes each where the cost model says gain (overlap_choice.h); the last two where they can be at all.
enum class OverlapMode { kOff, kAuto, kChunks, kHalves };
// kInvalidArgument (field exchange_overlap) for another word than off, auto, chunks, halves.
Result<OverlapMode> overlap_mode_named(std::string_view name);
inline bool takes_halves(OverlapMode mode) {
  return mode == OverlapMode::kAuto || mode == OverlapMode::kHalves;
}

// An exchange is cut into messages of no fewer bytes, rows and outputs together, and no more messages than these: about
// what 10 Gbit/s carry in the time that a message costs beside its bytes.
inline constexpr std::int64_t kLeastPartBytes = 32 * 1024;
inline constexpr std::int32_t kMostParts = 8;
// Rows of `width` floats in so many bytes, at least 1.
std::int64_t least_part_rows(std::int64_t width, std::int64_t least_bytes);

// Cuts groups of rows, in their order, into at most `parts` of about as many rows each, and of at least `least_rows`
// where there are more than one: where each part ends. No group is torn, so each expert's weights are read once; no
// part is empty. Rank 0 alone cuts; a message says which part of how many it is, so no other rank has to know the rule.
std::vector<std::size_t> cut_groups(std::span<const std::int32_t> group_rows, std::int64_t least_rows,
                                    std::int32_t parts);

}  // namespace foregate
