// Names one routed expert of a model: its layer and its number there. A value; ordered by layer, then number.
#pragma once

#include <compare>

#include "engine/base/ids.h"

namespace foregate {

struct ExpertKey {
  LayerId layer;
  ExpertId expert;
  auto operator<=>(const ExpertKey&) const = default;
};

}  // namespace foregate
