#include "engine/placement/plan_file.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace foregate {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFormat = "foregate-placement";
constexpr std::int64_t kVersion = 1;
constexpr std::size_t kMaxLayers = 4096;
constexpr std::int64_t kMaxExperts = 1 << 16;

std::string lists_text(const std::vector<std::vector<std::int32_t>>& lists, const std::string& indent) {
  std::string text = "[";
  for (std::size_t r = 0; r < lists.size(); ++r) {
    text += (r > 0 ? ",\n" : "\n") + indent + "  " + Json(lists[r]).dump();
  }
  return text + "\n" + indent + "]";
}

std::string layer_text(const PlacementPlan& plan, LayerId layer) {
  const auto ranks = static_cast<std::size_t>(plan.ranks());
  std::vector<std::vector<std::int32_t>> homes(ranks), copies(ranks);
  for (std::int32_t e = 0; e < plan.experts(layer); ++e) {
    homes[static_cast<std::size_t>(plan.home(layer, ExpertId{e}).value)].push_back(e);
  }
  bool any = false;
  for (const ExpertCopy& copy : plan.copies()) {
    if (copy.layer != layer) continue;
    copies[static_cast<std::size_t>(copy.rank.value)].push_back(copy.expert.value);
    any = true;
  }
  std::string text = "    {\"layer\": " + std::to_string(layer.value) +
                     ", \"experts\": " + std::to_string(plan.experts(layer)) +
                     ", \"ranks\": " + lists_text(homes, "    ");
  if (any) text += ", \"copies\": " + lists_text(copies, "    ");
  return text + "}";
}

Result<std::int64_t> number(const Json& object, const std::string& field, std::int64_t low, std::int64_t high) {
  const auto found = object.find(field);
  if (found == object.end() || !found->is_number_integer()) {
    return invalid_argument("the plan needs a whole number \"" + field + "\"", field);
  }
  // A number beyond int64 reads as unsigned; it is out of every range here.
  const bool huge = found->is_number_unsigned() && found->get<std::uint64_t>() > static_cast<std::uint64_t>(high);
  const std::int64_t value = huge ? high : found->get<std::int64_t>();
  if (huge || value < low || value > high) {
    return invalid_argument("\"" + field + "\" must be " + std::to_string(low) + " to " + std::to_string(high), field);
  }
  return value;
}

// Calls each(expert, rank) for every entry of the lists by rank.
template <class Each>
Status each_entry(const Json& lists, const std::string& field, std::int64_t ranks, std::int64_t experts, Each each) {
  if (!lists.is_array() || static_cast<std::int64_t>(lists.size()) != ranks) {
    return invalid_argument("\"" + field + "\" must have one list for each rank", field);
  }
  for (std::size_t r = 0; r < lists.size(); ++r) {
    if (!lists[r].is_array()) return invalid_argument("\"" + field + "\" must be lists of experts", field);
    for (const Json& entry : lists[r]) {
      if (!entry.is_number_unsigned() || entry.get<std::uint64_t>() >= static_cast<std::uint64_t>(experts)) {
        return invalid_argument("\"" + field + "\" names an expert that is none of the layer's", field);
      }
      RETURN_IF_ERROR(each(entry.get<std::size_t>(), static_cast<std::int32_t>(r)));
    }
  }
  return {};
}

Status parse_layer(const Json& object, std::int64_t ranks, std::vector<LayerHomes>& homes,
                   std::vector<ExpertCopy>& copies) {
  if (!object.is_object()) return invalid_argument("\"layers\" must be a list of objects", "layers");
  ASSIGN_OR_RETURN(const std::int64_t layer, number(object, "layer", 0, kMaxLayers - 1));
  ASSIGN_OR_RETURN(const std::int64_t experts, number(object, "experts", 1, kMaxExperts));
  homes.resize(std::max(homes.size(), static_cast<std::size_t>(layer) + 1));
  LayerHomes& into = homes[static_cast<std::size_t>(layer)];
  const std::string name = "layer " + std::to_string(layer);
  if (!into.empty()) return invalid_argument(name + " is there twice", "layers");
  into.assign(static_cast<std::size_t>(experts), -1);
  const Json none;
  const auto found = object.find("ranks");
  RETURN_IF_ERROR(each_entry(found == object.end() ? none : *found, "ranks", ranks, experts,
                             [&](std::size_t expert, std::int32_t rank) -> Status {
                               if (into[expert] >= 0) {
                                 return invalid_argument(name + " has expert " + std::to_string(expert) + " twice",
                                                         "ranks");
                               }
                               into[expert] = rank;
                               return {};
                             }));
  const auto missing = std::find(into.begin(), into.end(), -1);
  if (missing != into.end()) {
    return invalid_argument(name + " lacks expert " + std::to_string(missing - into.begin()), "ranks");
  }
  if (!object.contains("copies")) return {};
  return each_entry(object["copies"], "copies", ranks, experts, [&](std::size_t expert, std::int32_t rank) -> Status {
    copies.push_back(
        {LayerId{static_cast<std::int32_t>(layer)}, ExpertId{static_cast<std::int32_t>(expert)}, RankId{rank}});
    return {};
  });
}

}  // namespace

std::string plan_text(const PlacementPlan& plan, const PlanNotes& notes) {
  std::string text = "{\n  \"format\": \"" + std::string(kFormat) + "\",\n  \"version\": " + std::to_string(kVersion);
  text += ",\n  \"model\": " + Json(notes.model).dump(-1, ' ', false, Json::error_handler_t::replace);
  text += ",\n  \"objective\": " + Json(notes.objective).dump(-1, ' ', false, Json::error_handler_t::replace);
  text += ",\n  \"ranks\": " + std::to_string(plan.ranks()) + ",\n  \"layers\": [";
  bool first = true;
  for (std::size_t l = 0; l < plan.layers(); ++l) {
    const LayerId layer{static_cast<std::int32_t>(l)};
    if (plan.experts(layer) == 0) continue;
    text += (first ? "\n" : ",\n") + layer_text(plan, layer);
    first = false;
  }
  return text + "\n  ]\n}\n";
}

Result<PlacementPlan> parse_plan(std::string_view text) {
  if (text.size() > kMaxPlanBytes) return invalid_argument("the plan is larger than 64 MiB");
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object() || json.value("format", Json()) != Json(kFormat)) {
    return invalid_argument("this is no placement plan: \"format\" must be \"" + std::string(kFormat) + "\"", "format");
  }
  ASSIGN_OR_RETURN(const std::int64_t version, number(json, "version", 1, INT32_MAX));
  if (version != kVersion) return unimplemented("placement plans of version " + std::to_string(version), "version");
  ASSIGN_OR_RETURN(const std::int64_t ranks, number(json, "ranks", 1, kMaxRanks));
  const auto layers = json.find("layers");
  if (layers == json.end() || !layers->is_array() || layers->size() > kMaxLayers) {
    return invalid_argument("the plan needs a list \"layers\"", "layers");
  }
  std::vector<LayerHomes> homes;
  std::vector<ExpertCopy> copies;
  for (const Json& layer : *layers) RETURN_IF_ERROR(parse_layer(layer, ranks, homes, copies));
  return PlacementPlan::create(static_cast<std::int32_t>(ranks), std::move(homes), std::move(copies));
}

}  // namespace foregate
