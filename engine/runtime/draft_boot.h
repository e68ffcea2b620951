// What --speculative-config asks for, made: the drafter of an engine and what it is told. Called once, at boot.
#pragma once

#include <string>

#include "engine/base/status.h"
#include "engine/runtime/boot.h"
#include "engine/runtime/engine_parts.h"

namespace foregate {

// No drafter when nothing is asked for. `said` gets one line for the log and the status page.
Status choose_drafter(const BootOptions& options, SpeculationParts& parts, std::string& said);

}  // namespace foregate
