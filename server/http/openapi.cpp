#include "server/http/openapi.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>
#include <vector>

#include "server/http/router.h"
#include "server/openai/sampling_fields.h"
#include "server/ops/deadline.h"

namespace foregate {
namespace {

constexpr std::string_view kSchemas =
#include "server/http/openapi_schemas.inc"
    ;

constexpr std::int64_t kYearMs = 365ll * 86400 * 1000;

// What "$name" stands for; none of those of a model that is not there.
std::map<std::string, Json> limits_of(const OpenapiFacts& facts) {
  std::map<std::string, Json> known = {
      {"$max_prompts", kMaxPrompts}, {"$max_messages", kMaxMessages}, {"$max_tools", kMaxTools}};
  if (facts.context == nullptr) return known;
  const Limits& limits = facts.context->limits;
  known["$max_n"] = limits.max_n;
  known["$max_logprobs"] = limits.max_logprobs;
  known["$max_logit_bias"] = limits.max_logit_bias;
  known["$max_stop_ids"] = limits.max_stop_ids;
  known["$max_request_id_bytes"] = kMaxRequestIdBytes;
  known["$max_allowed_ids"] = limits.max_allowed_ids;
  known["$max_bad_words"] = limits.max_bad_words;
  known["$max_bad_word_bytes"] = limits.max_bad_word_bytes;
  known["$max_stop_strings"] = limits.max_stop_strings;
  known["$max_stop_bytes"] = limits.max_stop_bytes;
  known["$max_salt_bytes"] = limits.max_salt_bytes;
  known["$last_token"] = limits.vocab_size - 1;
  known["$models"] = facts.context->model_names;
  known["$models"].push_back("");
  known["$models"].push_back(nullptr);
  return known;
}

void put_limits(Json& json, const std::map<std::string, Json>& known) {
  std::vector<std::string> unknown;
  for (auto it = json.begin(); it != json.end(); ++it) {
    if (it->is_structured()) put_limits(*it, known);
    if (!it->is_string() || !it->get_ref<const std::string&>().starts_with("$")) continue;
    const auto found = known.find(it->get<std::string>());
    if (found != known.end()) {
      *it = found->second;
    } else {
      unknown.push_back(it.key());
    }
  }
  for (const std::string& key : unknown) json.erase(key);
}

// What would change the answer and is not supported: taken with a value that changes nothing.
Json unsupported_group() {
  Json properties = Json::object();
  for (const UnsupportedField& field : unsupported_fields()) {
    properties[field.name] = {{"enum", Json::parse(field.neutral)}, {"description", "not supported"}};
  }
  return {{"properties", std::move(properties)}};
}

bool is_group(const std::string& name) {
  return std::islower(static_cast<unsigned char>(name[0])) != 0;
}

Json schemas_of(const OpenapiFacts& facts) {
  Json all = Json::parse(kSchemas);
  all["unsupported"] = unsupported_group();
  put_limits(all, limits_of(facts));
  Json schemas = Json::object();
  for (auto& [name, schema] : all.items()) {
    if (is_group(name)) continue;
    if (schema.contains("include")) {
      const Json own = schema["properties"];
      Json properties = Json::object();
      for (const Json& group : schema["include"]) properties.update(all[group.get<std::string>()]["properties"]);
      properties.update(own);
      schema["properties"] = std::move(properties);
      schema.erase("include");
    }
    schemas[name] = schema;
  }
  return schemas;
}

Json reference(std::string_view schema) {
  return {{"$ref", "#/components/schemas/" + std::string(schema)}};
}

bool generates(const Route& route) {
  return !route.stream.empty();
}

bool is_messages(const Route& route) {
  return route.endpoint == Endpoint::kMessages || route.endpoint == Endpoint::kCountTokens;
}

Json content_of(const Route& route) {
  Json content = Json::object();
  const bool json = route.response.find('/') == std::string_view::npos;
  if (json) content["application/json"] = {{"schema", reference(route.response)}};
  if (!json) content[std::string(route.response)] = {{"schema", {{"type", "string"}}}};
  if (!generates(route)) return content;
  // No type: some readers take the body for one text, others hold each event, an object, to this schema.
  Json events = {{"description", "server-sent events; the data of each is x-event-schema, the last one [DONE]"}};
  events["x-event-schema"] = reference(route.stream);
  content["text/event-stream"] = {{"schema", std::move(events)}};
  return content;
}

// Every status that the gate, the reader and the handlers of the route give.
std::vector<int> errors_of(const Route& route, bool secured) {
  std::vector<int> statuses = {400, 408, 417, 431, 503, 505};
  if (secured) statuses.push_back(401);
  if (route.path.find("{id}") != std::string_view::npos || !route.request.empty()) statuses.push_back(404);
  if (route.method != "GET") statuses.insert(statuses.end(), {411, 413, 429});
  if (route.body != Body::kNone) statuses.push_back(415);
  if (generates(route)) statuses.push_back(504);
  if (is_file_route(route.endpoint)) statuses.push_back(409);
  if (route.endpoint == Endpoint::kSlots) statuses.push_back(403);
  std::sort(statuses.begin(), statuses.end());
  return statuses;
}

Json responses_of(const Route& route, bool secured) {
  Json responses = Json::object();
  responses["200"] = {{"description", "OK"}, {"content", content_of(route)}};
  for (const int status : errors_of(route, secured)) {
    responses[std::to_string(status)] = {
        {"$ref", is_messages(route) ? "#/components/responses/MessagesError" : "#/components/responses/Error"}};
  }
  const bool probe = route.response == "Health";
  if (probe) responses["503"] = {{"description", "not now"}, {"content", content_of(route)}};
  return responses;
}

Json parameter(const char* name, const char* in, Json schema) {
  return {{"name", name}, {"in", in}, {"required", std::string_view(in) == "path"}, {"schema", std::move(schema)}};
}

Json parameters_of(const Route& route, const OpenapiFacts& facts) {
  Json parameters = Json::array();
  if (route.path.find("{id}") != std::string_view::npos) {
    Json id = {{"type", "string"}, {"minLength", 1}};
    if (route.endpoint == Endpoint::kModel && facts.context != nullptr) id["enum"] = facts.context->model_names;
    parameters.push_back(parameter("id", "path", std::move(id)));
  }
  if (generates(route)) {
    parameters.push_back(
        parameter(kTimeoutHeader.data(), "header", {{"type", "integer"}, {"minimum", 1}, {"maximum", kYearMs}}));
  }
  if (route.endpoint == Endpoint::kFiles || route.endpoint == Endpoint::kBatches) {
    parameters.push_back(parameter("limit", "query", {{"type", "integer"}, {"minimum", 1}, {"maximum", 10000}}));
    parameters.push_back(parameter("after", "query", {{"type", "string"}}));
    parameters.push_back(parameter("order", "query", {{"enum", {"asc", "desc"}}}));
  }
  if (route.endpoint == Endpoint::kSlots) parameters.push_back(parameter("prompt", "query", {{"type", "boolean"}}));
  if (route.endpoint == Endpoint::kFiles) {
    parameters.push_back(parameter("purpose", "query", {{"enum", {"batch", "batch_output"}}}));
  }
  return parameters;
}

// "POST /v1/files/{id}" -> "post_v1_files_id"
std::string operation_id(const Route& route) {
  std::string id;
  for (const char c : std::string(route.method) + std::string(route.path)) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte)) {
      id += static_cast<char>(std::tolower(byte));
    } else if (!id.empty() && id.back() != '_') {
      id += '_';
    }
  }
  while (id.back() == '_') id.pop_back();
  return id;
}

Json operation(const Route& route, const OpenapiFacts& facts) {
  const bool secured =
      route.access == Access::kAdmin ? facts.keys || facts.admin_key : route.access == Access::kKeyed && facts.keys;
  Json made = {{"operationId", operation_id(route)}, {"summary", route.summary}};
  made["security"] = Json::array();
  if (secured) made["security"] = {{{"bearer", Json::array()}}, {{"header", Json::array()}}};
  if (Json parameters = parameters_of(route, facts); !parameters.empty()) made["parameters"] = std::move(parameters);
  if (!route.request.empty()) {
    const char* type = route.body == Body::kForm ? "multipart/form-data" : "application/json";
    made["requestBody"] = {{"required", true}, {"content", {{type, {{"schema", reference(route.request)}}}}}};
  }
  made["responses"] = responses_of(route, secured);
  return made;
}

Json error_component(const char* schema) {
  return {{"description", "what was wrong"}, {"content", {{"application/json", {{"schema", reference(schema)}}}}}};
}

}  // namespace

std::string openapi_text(const OpenapiFacts& facts) {
  Json paths = Json::object();
  for (const Route& route : routes()) {
    if (is_file_route(route.endpoint) && !facts.files) continue;
    if (route.endpoint == Endpoint::kPage && !facts.page) continue;
    if (route.endpoint == Endpoint::kSlots && !facts.slots) continue;
    std::string method(route.method);
    for (char& c : method) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    paths[std::string(route.path)][method] = operation(route, facts);
  }
  Json document = {{"openapi", "3.1.0"}, {"info", {{"title", "Foregate"}, {"version", facts.version}}}};
  document["paths"] = std::move(paths);
  document["components"] = {{"schemas", schemas_of(facts)}};
  document["components"]["responses"] = {{"Error", error_component("Error")},
                                         {"MessagesError", error_component("MessagesError")}};
  document["components"]["securitySchemes"] = {
      {"bearer", {{"type", "http"}, {"scheme", "bearer"}}},
      {"header", {{"type", "apiKey"}, {"in", "header"}, {"name", "x-api-key"}}}};
  return document.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace foregate
