#include "engine/spec/spec_config.h"

#include <cstdio>
#include <nlohmann/json.hpp>
#include <utility>

#include "engine/api/limits.h"
#include "engine/spec/token_tree.h"
#include "engine/weights/checked_json.h"

namespace foregate {
namespace {

using Json = nlohmann::json;

constexpr auto kMostTokens = static_cast<std::int32_t>(kMaxDraftDepth);
constexpr auto kMostNodes = static_cast<std::int32_t>(kMaxDraftNodes);
constexpr std::int32_t kLongestLookup = 64;
constexpr std::int32_t kMostExperts = 1024;  // to a row
constexpr std::int32_t kMostAnswers = 1'000'000;

Status wrong(const std::string& what) {
  return invalid_argument("--speculative-config: " + what, "speculative_config");
}

std::string number_text(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", value);
  return text;
}

Status read_text(const Json& value, const std::string& key, std::string& out) {
  if (!value.is_string()) return wrong(key + " must be a string");
  out = value.get<std::string>();
  return {};
}

Status read_count(const Json& value, const std::string& key, std::int32_t least, std::int32_t most, std::int32_t& out) {
  const bool fits = value.is_number_integer() && value >= least && value <= most;
  if (!fits) return wrong(key + " must be a number from " + std::to_string(least) + " to " + std::to_string(most));
  out = value.get<std::int32_t>();
  return {};
}

Status read_number(const Json& value, const std::string& key, double least, double most, double& out) {
  const bool fits = value.is_number() && value >= least && value <= most;
  if (!fits) return wrong(key + " must be a number from " + number_text(least) + " to " + number_text(most));
  out = value.get<double>();
  return {};
}

// Which keys were there, for those whose absence means something.
struct Given {
  std::string method;
  std::string model;
  std::int32_t tokens = 0;  // num_speculative_tokens; 0: not given
  bool lookup_min = false;
  bool lookup_max = false;
};

Status read_suffix_key(const Json& value, const std::string& key, SuffixOptions& suffix) {
  if (key == "suffix_decoding_max_tree_depth") return read_count(value, key, 1, kMostTokens, suffix.max_tree_depth);
  if (key == "suffix_decoding_max_cached_requests") {
    return read_count(value, key, 0, kMostAnswers, suffix.max_cached_requests);
  }
  if (key == "suffix_decoding_max_spec_factor") return read_number(value, key, 0.0, 64.0, suffix.max_spec_factor);
  if (key == "suffix_decoding_min_token_prob") return read_number(value, key, 0.0, 1.0, suffix.min_token_prob);
  return wrong("unknown key " + printable(key));
}

Status read_key(const Json& value, const std::string& key, SpecConfig& config, Given& given) {
  if (key == "method") return read_text(value, key, given.method);
  if (key == "model") return read_text(value, key, given.model);
  if (key == "quantization") return read_text(value, key, config.quantization);
  if (key == "speculative_token_map") return read_text(value, key, config.token_map);
  if (key == "num_experts") return read_count(value, key, 1, kMostExperts, config.num_experts);
  if (key == "adaptive") {
    if (!value.is_boolean()) return wrong("adaptive must be true or false");
    config.adaptive = value.get<bool>();
    return {};
  }
  if (key == "num_speculative_tokens") {
    return read_count(value, key, 1, kMostNodes, given.tokens);
  }
  if (key == "speculative_token_tree") {
    if (value.is_null()) return {};
    Result<TreeShape> tree = parse_token_tree(value);
    if (!tree.ok()) return wrong(tree.status().message());
    config.tree = std::move(*tree);
    return {};
  }
  if (key == "prompt_lookup_min") {
    given.lookup_min = true;
    return read_count(value, key, 1, kLongestLookup, config.prompt_lookup_min);
  }
  if (key == "prompt_lookup_max") {
    given.lookup_max = true;
    return read_count(value, key, 1, kLongestLookup, config.prompt_lookup_max);
  }
  return read_suffix_key(value, key, config.suffix);
}

// vLLM's names of drafting by a checkpoint's own multi-token prediction (NextN) layers.
bool is_mtp(const std::string& method) {
  return method == "mtp" || method == "nextn" || method.ends_with("_mtp");
}

Status set_method(const std::string& method, const std::string& model, SpecConfig& config) {
  const bool named_ngram = model == "ngram" || model == "[ngram]";
  if (method == "ngram" || (method.empty() && named_ngram)) {
    if (!model.empty() && !named_ngram) return wrong("method ngram takes no model");
    config.method = SpecMethod::kNgram;
    return {};
  }
  if (method == "suffix") {
    if (!model.empty()) return wrong("method suffix takes no model");
    config.method = SpecMethod::kSuffix;
    return {};
  }
  if (method == "self") {
    if (!model.empty()) return wrong("method self takes no model");
    if (config.num_experts == 0) return wrong("method self needs num_experts");
    config.method = SpecMethod::kSelf;
    return {};
  }
  if (is_mtp(method)) {
    config.method = SpecMethod::kMtp;
    config.model = model;
    return {};
  }
  if (method == "draft_model" || (method.empty() && !model.empty())) {
    if (model.empty()) return wrong("method draft_model needs a model");
    config.method = SpecMethod::kDraftModel;
    config.model = model;
    return {};
  }
  if (method.empty()) return wrong("method is missing");
  return wrong("method " + printable(method) + " is not known; ngram, suffix, draft_model, self and mtp are");
}

// A tree says how deep drafts are; num_speculative_tokens beside it, as vLLM wants it, says that or how many its nodes
// are. One that does not branch is a chain.
Status set_tokens(const Given& given, SpecConfig& config) {
  const auto nodes = static_cast<std::int32_t>(config.tree.nodes.size());
  if (nodes == 0) {
    if (given.tokens > kMostTokens) {
      return wrong("num_speculative_tokens must be a number from 1 to " + std::to_string(kMostTokens));
    }
    if (given.tokens > 0) config.num_speculative_tokens = given.tokens;
    if (given.tokens == 0 && config.method == SpecMethod::kSuffix) {
      config.num_speculative_tokens = config.suffix.max_tree_depth;
    }
    return {};
  }
  const std::int32_t depth = config.tree.depth();
  if (given.tokens > 0 && given.tokens != depth && given.tokens != nodes) {
    return wrong("num_speculative_tokens must be the depth of speculative_token_tree, " + std::to_string(depth) +
                 ", or its nodes, " + std::to_string(nodes));
  }
  config.num_speculative_tokens = depth;
  if (nodes == depth) config.tree = {};
  if (!config.tree.empty() && config.method == SpecMethod::kMtp) {
    return wrong("speculative_token_tree must not branch with method mtp");
  }
  return {};
}

}  // namespace

const char* spec_method_name(SpecMethod method) {
  switch (method) {
    case SpecMethod::kOff: return "off";
    case SpecMethod::kNgram: return "ngram";
    case SpecMethod::kSuffix: return "suffix";
    case SpecMethod::kDraftModel: return "draft_model";
    case SpecMethod::kSelf: return "self";
    case SpecMethod::kMtp: return "mtp";
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
  Given given;
  for (const auto& [key, value] : fields.items()) RETURN_IF_ERROR(read_key(value, key, config, given));
  RETURN_IF_ERROR(set_method(given.method, given.model, config));
  const bool drafts_by_model = config.method == SpecMethod::kDraftModel || config.method == SpecMethod::kMtp;
  if (!config.quantization.empty() && !drafts_by_model) return wrong("quantization is of a draft model");
  if (!config.token_map.empty() && !drafts_by_model) return wrong("speculative_token_map is of a draft model");
  if (config.num_experts > 0 && config.method != SpecMethod::kSelf) return wrong("num_experts is of method self");
  // Of the two lengths, one alone says both.
  if (given.lookup_min && !given.lookup_max) config.prompt_lookup_max = config.prompt_lookup_min;
  if (given.lookup_max && !given.lookup_min) config.prompt_lookup_min = config.prompt_lookup_max;
  if (config.prompt_lookup_min > config.prompt_lookup_max) return wrong("prompt_lookup_min is above prompt_lookup_max");
  RETURN_IF_ERROR(set_tokens(given, config));
  return config;
}

}  // namespace foregate
