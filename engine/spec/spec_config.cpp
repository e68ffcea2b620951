#include "engine/spec/spec_config.h"

#include <nlohmann/json.hpp>

#include "engine/weights/checked_json.h"

namespace foregate {
namespace {

using Json = nlohmann::json;

constexpr std::int32_t kMostTokens = 32;
constexpr std::int32_t kLongestLookup = 64;

Status wrong(const std::string& what) {
  return invalid_argument("--speculative-config: " + what, "speculative_config");
}

Status read_text(const Json& value, const std::string& key, std::string& out) {
  if (!value.is_string()) return wrong(key + " must be a string");
  out = value.get<std::string>();
  return {};
}

Status read_count(const Json& value, const std::string& key, std::int32_t most, std::int32_t& out) {
  const bool fits = value.is_number_integer() && value >= 1 && value <= most;
  if (!fits) return wrong(key + " must be a number from 1 to " + std::to_string(most));
  out = value.get<std::int32_t>();
  return {};
}

Status set_method(const std::string& method, const std::string& model, SpecConfig& config) {
  const bool named_ngram = model == "ngram" || model == "[ngram]";
  if (method == "ngram" || (method.empty() && named_ngram)) {
    if (!model.empty() && !named_ngram) return wrong("method ngram takes no model");
    config.method = SpecMethod::kNgram;
    return {};
  }
  if (method == "draft_model" || (method.empty() && !model.empty())) {
    if (model.empty()) return wrong("method draft_model needs a model");
    config.method = SpecMethod::kDraftModel;
    config.model = model;
    return {};
  }
  if (method.empty()) return wrong("method is missing");
  return wrong("method " + printable(method) + " is not known; ngram and draft_model are");
}

}  // namespace

const char* spec_method_name(SpecMethod method) {
  switch (method) {
    case SpecMethod::kOff: return "off";
    case SpecMethod::kNgram: return "ngram";
    case SpecMethod::kDraftModel: return "draft_model";
  }
  return "off";
}

Result<SpecConfig> parse_spec_config(std::string_view json) {
  SpecConfig config;
  if (json.empty()) return config;
  Json fields;
  const Status parsed = parse_checked_json(json, 4, "--speculative-config", fields);
  if (!parsed.ok()) return wrong(parsed.message());
  if (!fields.is_object()) return wrong("must be a JSON object");
  std::string method;
  std::string model;
  bool has_min = false;
  bool has_max = false;
  for (const auto& [key, value] : fields.items()) {
    if (key == "method") {
      RETURN_IF_ERROR(read_text(value, key, method));
    } else if (key == "model") {
      RETURN_IF_ERROR(read_text(value, key, model));
    } else if (key == "adaptive") {
      if (!value.is_boolean()) return wrong("adaptive must be true or false");
      config.adaptive = value.get<bool>();
    } else if (key == "num_speculative_tokens") {
      RETURN_IF_ERROR(read_count(value, key, kMostTokens, config.num_speculative_tokens));
    } else if (key == "prompt_lookup_min") {
      RETURN_IF_ERROR(read_count(value, key, kLongestLookup, config.prompt_lookup_min));
      has_min = true;
    } else if (key == "prompt_lookup_max") {
      RETURN_IF_ERROR(read_count(value, key, kLongestLookup, config.prompt_lookup_max));
      has_max = true;
    } else {
      return wrong("unknown key " + printable(key));
    }
  }
  RETURN_IF_ERROR(set_method(method, model, config));
  // Of the two lengths, one alone says both.
  if (has_min && !has_max) config.prompt_lookup_max = config.prompt_lookup_min;
  if (has_max && !has_min) config.prompt_lookup_min = config.prompt_lookup_max;
  if (config.prompt_lookup_min > config.prompt_lookup_max) return wrong("prompt_lookup_min is above prompt_lookup_max");
  return config;
}

}  // namespace foregate
