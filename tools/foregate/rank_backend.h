// The backends that a rank other than 0 computes with; they live as long as the function that made them.
#pragma once

#include "engine/runtime/rank_life.h"

namespace foregate {

MakeRankBackend rank_backends();

}  // namespace foregate
