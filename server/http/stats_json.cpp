#include "server/http/stats_json.h"

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <utility>

namespace foregate {
namespace {

using Json = nlohmann::ordered_json;

HttpResponse json_response(const Json& body) {
  HttpResponse response;
  response.headers.emplace_back("cache-control", "no-store");
  response.body = body.dump(-1, ' ', false, Json::error_handler_t::replace);
  return response;
}

Json experts_figures(const ExpertFigures& e) {
  return {{"hits", e.hits},
          {"misses", e.misses},
          {"evictions", e.evictions},
          {"loaded_bytes", e.loaded_bytes},
          {"stall_seconds", e.stall_seconds},
          {"slots", e.slots},
          {"slots_used", e.slots_used},
          {"hints", e.hints},
          {"hints_useful", e.hints_useful},
          {"hints_wasted", e.hints_wasted}};
}

char place_letter(ExpertPlace place) {
  switch (place) {
    case ExpertPlace::kDisk: return 'd';
    case ExpertPlace::kLoading: return 'l';
    case ExpertPlace::kMemory: return 'm';
    case ExpertPlace::kDevice: return 'g';
  }
  return 'm';
}

Json layer_json(std::size_t layer, std::span<const ExpertCell> cells) {
  std::string places;
  Json rows = Json::array(), uses = Json::array(), hits = Json::array();
  Json useful = Json::array(), wasted = Json::array();
  for (const ExpertCell& cell : cells) {
    places += place_letter(cell.place);
    rows.push_back(cell.rows);
    uses.push_back(cell.uses);
    hits.push_back(cell.hits);
    useful.push_back(cell.ahead_useful);
    wasted.push_back(cell.ahead_wasted);
  }
  return {{"layer", layer},
          {"experts", cells.size()},
          {"place", places},
          {"rows", std::move(rows)},
          {"uses", std::move(uses)},
          {"hits", std::move(hits)},
          {"ahead_useful", std::move(useful)},
          {"ahead_wasted", std::move(wasted)}};
}

}  // namespace

HttpResponse stats_response(const ServedModel& served, double uptime_seconds) {
  const EngineStats now = served.engine->stats();
  Json body = {{"uptime_seconds", uptime_seconds},
               {"running", now.running},
               {"waiting", now.waiting},
               {"paused", now.paused},
               {"kv_blocks_total", now.kv_blocks_total},
               {"kv_blocks_used", now.kv_blocks_used},
               {"kv_blocks_kept", now.kv_blocks_kept},
               {"steps", now.steps},
               {"prompt_tokens", now.prompt_tokens},
               {"generated_tokens", now.generated_tokens},
               {"preemptions", now.preemptions},
               {"prefix_queries", now.prefix_queries},
               {"prefix_hits", now.prefix_hits},
               {"finished", now.finished_stop + now.finished_length},
               {"failed", now.failed}};
  body["experts"] = now.experts ? experts_figures(*now.experts) : Json();
  return json_response(body);
}

HttpResponse experts_response(const ExpertMap& map) {
  Json body = {
      {"steps", map.steps}, {"watched_steps", map.watched_steps}, {"counted", map.counted}, {"layers", Json::array()}};
  std::size_t first = 0;
  for (std::size_t layer = 0; layer < map.experts.size(); ++layer) {
    const auto count = static_cast<std::size_t>(map.experts[layer]);
    if (count == 0) continue;
    body["layers"].push_back(layer_json(layer, std::span(map.cells).subspan(first, count)));
    first += count;
  }
  return json_response(body);
}

}  // namespace foregate
