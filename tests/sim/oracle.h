// What a request must be answered, computed without an engine: the stub's logits are a hash of the sample's own
// history, so the answer follows from the request alone.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/api/types.h"

namespace foregate::sim {

inline constexpr std::int32_t kVocab = 24;
inline constexpr Token kEos = 7;

std::uint64_t mix(std::uint64_t hash, std::uint64_t value);
inline constexpr std::uint64_t kNoHistory = 1;
void fill_logits(std::uint64_t history, std::span<float> row);

struct Answer {
  std::vector<Token> tokens;
  FinishReason finish = FinishReason::kStop;
  Token stop_token = -1;
  Code error = Code::kOk;  // with FinishReason::kError
};
Answer answer_of(const Request& request, std::int32_t index);

// Lets a third of the tokens come, another third each time; the end once `least` tokens are out. After `dead_end`
// tokens nothing may come.
std::shared_ptr<const TokenConstraint> ring_constraint(std::int32_t least, std::int32_t dead_end);

}  // namespace foregate::sim
