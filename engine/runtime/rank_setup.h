// What rank 0 tells a rank that it starts: which model, which part of it, and how to compute. Plain data and its text.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/placement/plan_file.h"

namespace foregate {

struct RankSetup {
  std::string model;
  std::string quantization = "none";
  std::string isa = "auto";
  int threads = 1;
  bool verify_weights = true;
  std::int32_t max_rows = 0;  // of one step
  std::int32_t rank = 0;
  // Bytes of memory for experts, by rank: what a rank keeps there while the others of its experts are on disk; 0: it
  // loads all of its experts. Empty: all do.
  std::vector<std::uint64_t> expert_bytes;
  std::string expert_policy = "auto";
  bool expert_warm = true;
  bool prompt_read_ahead = true;
  bool rows_move = false;  // rows go on here: it loads the dense weights too
  bool halves = false;     // rows of both halves of a step may be under way here
  bool on_gpu = false;     // it computes on a GPU: of those of its machine, the one of its number
  std::string cuda_module;
  bool calls_peers = false;  // rank 0 calls it before it loads (engine/comm/peer_call.h)
  std::string nccl_library;
  std::string plan;  // plan_text()
};

inline constexpr std::uint64_t kMaxSetupBytes = 2 * kMaxPlanBytes;

std::vector<std::byte> setup_bytes(const RankSetup& setup);
// kDataLoss for anything but what setup_bytes() makes.
Result<RankSetup> parse_setup(std::span<const std::byte> bytes);

}  // namespace foregate
