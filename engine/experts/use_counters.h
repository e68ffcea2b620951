// How often each expert was used of late, as a tier keeps it across restarts: one small file beside the packed model.
// Pure; any thread.
//
// The file, integers and floats little-endian:
//   0   "FGCOUNTS"
//   8   u32 version = 1      12  u32 layers
//   16  u64 weights_id of the packed model (PackedIndex::weights_id())
//   24  per layer: u32 experts, then an f32 for each: decayed uses per token, finite and not negative
//   end u64 XXH3-64 of everything before
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"

namespace foregate {

inline constexpr std::uint32_t kUseCountersVersion = 1;
inline constexpr std::uint32_t kMaxCountedLayers = 4096;
inline constexpr std::uint32_t kMaxCountedExperts = 1 << 16;  // of one layer

struct UseCounters {
  std::vector<std::vector<float>> rates;  // [layer][expert]: uses per token of that layer; empty for a dense layer
  bool empty() const { return rates.empty(); }
};

std::vector<std::byte> write_use_counters(const UseCounters& counters, std::uint64_t weights_id);

// `label` names the file in errors. kDataLoss for damage (with the offset), kUnimplemented for another version,
// kInvalidArgument for counters of other weights.
Result<UseCounters> read_use_counters(std::span<const std::byte> bytes, std::uint64_t weights_id,
                                      std::string_view label);

}  // namespace foregate
