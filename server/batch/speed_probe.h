// How fast the engine is with prompts like those of a batch, measured, for the time that a dry run tells. Blocks its
// thread; the engine must have nothing else to do.
#pragma once

#include <cstdint>
#include <string>

#include "engine/api/engine.h"
#include "server/batch/dry_run.h"

namespace foregate {

struct BatchSpeed {
  double prompt_tokens_per_second = 0;
  double completion_tokens_per_second = 0;
  std::int32_t samples = 0;  // that ran together
};

// Runs as many samples together as the batch would, at most `most_samples`, with prompts as long as its mean.
Result<BatchSpeed> probe_speed(Engine& engine, const DryRun& counted, std::int32_t most_samples);
std::string estimate_text(const DryRun& counted, const BatchSpeed& speed);

}  // namespace foregate
