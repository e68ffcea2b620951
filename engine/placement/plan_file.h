// A placement plan as text that people can read and change: JSON, for each layer the experts of every rank. Pure.
#pragma once

#include <string>
#include <string_view>

#include "engine/placement/plan.h"

namespace foregate {

// What is written beside a plan and not needed to use it.
struct PlanNotes {
  std::string model;
  std::string objective;
};

inline constexpr std::size_t kMaxPlanBytes = std::size_t{64} << 20;

std::string plan_text(const PlacementPlan& plan, const PlanNotes& notes);
// kInvalidArgument names the field that is wrong. Every expert of a layer must have exactly one home.
Result<PlacementPlan> parse_plan(std::string_view text);

}  // namespace foregate
