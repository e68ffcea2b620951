// The live view at /slots: a list with one object for each sample that waits or runs, by arrival, made of what the
// front end holds open and what the engine last said of it. Prompts and stop strings are in it only when asked for.
#pragma once

#include <string_view>
#include <vector>

#include "engine/api/live_sample.h"
#include "server/generate/frontend.h"
#include "server/http/message.h"

namespace foregate {

struct SlotsQuery {
  bool prompt = false;  // show the texts
};
// Of the part of a target behind "?". kInvalidArgument names the parameter.
Result<SlotsQuery> parse_slots_query(std::string_view query);

// `now`: by the clock of arrivals. Any thread.
HttpResponse slots_response(const std::vector<OpenGeneration>& open, const std::vector<LiveSample>& live, TimeNs now,
                            const SlotsQuery& query, const ApiContext& context);

}  // namespace foregate
