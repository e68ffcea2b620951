// One sample that waits or runs, as the engine thread saw it at the end of its last turn. Plain data.
#pragma once

#include <cstdint>

#include "engine/base/clock.h"
#include "engine/base/ids.h"

namespace foregate {

enum class SampleState : std::uint8_t { kWaiting, kDeferred, kPrefill, kDecode, kPaused };

// waiting | deferred (for a prefix that another one computes) | prefill | decode | paused (its reader is slow)
constexpr const char* sample_state_name(SampleState state) {
  switch (state) {
    case SampleState::kWaiting: return "waiting";
    case SampleState::kDeferred: return "deferred";
    case SampleState::kPrefill: return "prefill";
    case SampleState::kDecode: return "decode";
    case SampleState::kPaused: return "paused";
  }
  return "waiting";
}

struct LiveSample {
  RequestId request;
  std::int32_t index = 0;  // of the request's samples
  SampleState state = SampleState::kWaiting;
  std::int32_t prompt_tokens = 0;
  std::int32_t cached_tokens = 0;  // of the prompt: found in the prefix cache
  std::int32_t computed = 0;       // of prompt and answer: positions in the KV cache
  std::int32_t generated = 0;
  std::int32_t kv_blocks = 0;
  std::int32_t preemptions = 0;
  TimeNs queued_at = 0;
  TimeNs first_run_at = -1;  // -1: not yet
};

}  // namespace foregate
