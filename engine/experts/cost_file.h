// Costs as a tier keeps them across restarts: one small file beside the packed model, an entry for each machine that
// served it. Pure; any thread.
//
// The file, version 1; integers and floats little-endian:
//   0   "FGCOSTSF"
//   8   u32 version      12  u32 entries
//   16  u64 weights_id of the packed model (PackedIndex::weights_id())
//   24  entries: u32 bytes of the machine's name, the name; u64 chunk_bytes, u32 depth; f64 reading, memory, memory
//   while
//       reading, observed factor, observed bytes per second; u32 reads, each u64 bytes, u32 depth, f64 bytes per
//       second, f64 latency; u32 kernels, each u32 bytes of the format's name, the name, u64 expert_bytes, u32 points,
//       each i32 rows, f64 seconds
//   end u64 XXH3-64 of everything before
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"
#include "engine/experts/cost_model.h"

namespace foregate {

inline constexpr std::uint32_t kCostFileVersion = 1;
inline constexpr std::size_t kMaxCostEntries = 16;  // machines; the oldest goes
inline constexpr std::size_t kMaxCostText = 512;
inline constexpr std::size_t kMaxReadCosts = 256;
inline constexpr std::size_t kMaxKernelCosts = 64;
inline constexpr std::size_t kMaxKernelPoints = 64;

struct CostEntry {
  std::string machine;  // what the costs depend on beside the weights, in words: processor, cores, kernels, threads
  CostModel costs;
};

std::vector<std::byte> write_cost_file(std::span<const CostEntry> entries, std::uint64_t weights_id);

// `label` names the file in errors. kDataLoss for damage (with the offset), kUnimplemented for another version,
// kInvalidArgument for costs of other weights. Every entry passes CostModel::check().
Result<std::vector<CostEntry>> read_cost_file(std::span<const std::byte> bytes, std::uint64_t weights_id,
                                              std::string_view label);

// The costs of a machine; null when there are none.
const CostModel* find_costs(std::span<const CostEntry> entries, std::string_view machine);
// Puts an entry first, in the place of an older one of its machine; the last go beyond kMaxCostEntries.
void put_costs(std::vector<CostEntry>& entries, CostEntry entry);

}  // namespace foregate
