// What a batch says at its end. Pure.
#pragma once

#include <string>

#include "engine/api/engine.h"
#include "server/batch/batch_runner.h"

namespace foregate {

// Lines: what became of the input, tokens and their speed; what the prefix cache found; where experts were on disk, the
// bytes read for a token. `before`, `after`: of the engine around the run.
std::string batch_summary(const BatchCounts& counts, const EngineStats& before, const EngineStats& after,
                          double seconds);

}  // namespace foregate
