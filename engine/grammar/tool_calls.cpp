#include "engine/grammar/tool_calls.h"

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "engine/grammar/json_schema.h"
#include "engine/grammar/json_text.h"
#include "engine/grammar/schema_fields.h"

namespace foregate::grammar {
namespace {

// Arguments are an object also where the schema does not say so; a tool without a schema takes none.
Json as_object(const Json& tool) {
  Json schema = tool.value("parameters", Json());
  if (schema.is_null()) {
    return Json{{"type", "object"}, {"properties", Json::object()}, {"additionalProperties", false}};
  }
  const bool silent =
      schema.is_object() && first_of(schema, {"type", "$ref", "anyOf", "oneOf", "allOf", "enum", "const"}).empty();
  if (silent) schema["type"] = "object";
  return schema;
}

}  // namespace

Result<ExprId> parse_calls(const Json& calls, const GrammarLimits& limits, Grammar& grammar) {
  const auto text = [&](const char* member) { return grammar.text(calls[member].get_ref<const std::string&>()); };
  std::vector<ExprId> choices;
  for (const Json& tool : calls["tools"]) {
    const auto& name = tool["name"].get_ref<const std::string&>();
    const Json schema = as_object(tool);
    auto arguments = parse_schema(schema, limits, grammar);
    if (!arguments.ok()) return Status(arguments.status().code(), name + ": " + arguments.status().message());
    const std::string head =
        "{\"name\": \"" + json_escaped(name) + "\", \"" + calls["arguments"].get_ref<const std::string&>() + "\": ";
    choices.push_back(grammar.sequence({grammar.text(head), *arguments, grammar.text("}")}));
  }
  const ExprId one = grammar.rule(
      grammar.add_rule(grammar.sequence({text("open"), grammar.choice(std::move(choices)), text("close")})));
  std::vector<ExprId> parts = {text("begin"), one};
  if (calls["many"].get<bool>()) {
    parts.push_back(grammar.repeat(grammar.sequence({text("between"), one}), 0, kUnbounded));
  }
  parts.push_back(text("end"));
  return grammar.sequence(std::move(parts));
}

Result<Grammar> grammar_of_calls(const Json& calls, const GrammarLimits& limits) {
  Grammar grammar;
  ASSIGN_OR_RETURN(const ExprId body, parse_calls(calls, limits, grammar));
  grammar.set_root(grammar.add_rule(body));
  return grammar;
}

}  // namespace foregate::grammar
