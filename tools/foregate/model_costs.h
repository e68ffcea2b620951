// The costs that a start of this machine left beside a packed model, for commands that estimate.
#pragma once

#include <cstdint>
#include <string>

#include "engine/base/status.h"
#include "engine/experts/cost_model.h"

namespace foregate {

// As this machine would serve it when nothing else is asked for, else the newest entry of this processor. kNotFound,
// with what to do, when there is none.
Result<CostModel> costs_beside(const std::string& dir, std::uint64_t weights_id);

}  // namespace foregate
