// What the engine does now, as JSON for people and pages: /v1/stats and /v1/experts. For monitoring there is /metrics.
#pragma once

#include "engine/api/expert_board.h"
#include "server/generate/served_model.h"
#include "server/http/message.h"

namespace foregate {

HttpResponse stats_response(const ServedModel& served, double uptime_seconds);

// For each MoE layer: where each expert is (one letter each: d on disk, l on its way, m in memory, g on the device) and
// its counts. No layers where the model has no experts.
HttpResponse experts_response(const ExpertMap& map);

}  // namespace foregate
