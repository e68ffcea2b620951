// The costs of experts at boot, for people and for /metrics: series named moe_calibrated_*.
#pragma once

#include <string>

#include "engine/base/metrics.h"
#include "engine/experts/cost_model.h"

namespace foregate {

// `measured`: at this start, else they came from the file of an earlier one. `registry` may be null.
void report_costs(const CostModel& costs, bool measured, const std::string& model_name, Metrics* registry);

// One line: bandwidths of disk and memory, kernel of one expert.
std::string costs_text(const CostModel& costs);

}  // namespace foregate
