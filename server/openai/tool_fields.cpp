#include "server/openai/tool_fields.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "engine/api/limits.h"

namespace foregate {
namespace {

Status bad(const std::string& field, const std::string& what) {
  return invalid_argument(field + " " + what, field);
}

bool is_text(const Json* value, const char* word) {
  return value != nullptr && value->is_string() && *value == word;
}

Status check_tools(const Json& tools) {
  if (!tools.is_array()) return bad("tools", "must be a list");
  if (tools.size() > kMaxTools) return bad("tools", "has more than " + std::to_string(kMaxTools) + " entries");
  std::set<std::string> names;
  for (std::size_t i = 0; i < tools.size(); ++i) {
    const std::string where = "tools[" + std::to_string(i) + "]";
    const Json& tool = tools[i];
    if (!tool.is_object()) return bad(where, "must be an object");
    if (tool.value("type", Json()) != "function") return bad(where + ".type", "must be \"function\"");
    const auto function = tool.find("function");
    if (function == tool.end() || !function->is_object()) return bad(where + ".function", "must be an object");
    const auto name = function->find("name");
    if (name == function->end() || !name->is_string() || name->get_ref<const std::string&>().empty()) {
      return bad(where + ".function.name", "must be a string that is not empty");
    }
    const auto& text = name->get_ref<const std::string&>();
    if (text.size() > kMaxToolNameBytes) return bad(where + ".function.name", "is too long");
    if (!names.insert(text).second) return bad(where + ".function.name", "is the name of an earlier tool");
    const auto parameters = function->find("parameters");
    if (parameters != function->end() && !parameters->is_null() && !parameters->is_object()) {
      return bad(where + ".function.parameters", "must be a JSON schema, an object");
    }
  }
  return {};
}

const Json* function_named(const Json& tools, const std::string& name) {
  for (const Json& tool : tools) {
    if (tool["function"]["name"] == name) return &tool["function"];
  }
  return nullptr;
}

// {"type": "function", "function": {"name": ...}}, or the name beside the type.
Result<const Json*> chosen(const Json& choice, const Json& tools, const std::string& field) {
  const bool nested = choice.contains("function");
  const Json& place = nested ? choice["function"] : choice;
  const std::string where = field + (nested ? ".function.name" : ".name");
  if (!place.is_object() || !place.contains("name") || !place["name"].is_string())
    return bad(where, "must be a string");
  const Json* function = function_named(tools, place["name"].get_ref<const std::string&>());
  if (function == nullptr) return bad(where, "is not the name of a tool of this request");
  return function;
}

// {"type": "allowed_tools", "allowed_tools": {"mode": ..., "tools": [...]}}
Status read_allowed(const Json& choice, ToolUse& use) {
  const std::string field = "tool_choice.allowed_tools";
  const auto found = choice.find("allowed_tools");
  const Json& allowed = found == choice.end() ? choice : *found;
  if (!allowed.is_object() || !allowed.contains("tools") || !allowed["tools"].is_array() || allowed["tools"].empty()) {
    return bad(field + ".tools", "must be a list that is not empty");
  }
  const Json mode = allowed.value("mode", Json("auto"));
  if (mode != "auto" && mode != "required") return bad(field + ".mode", "must be auto or required");
  use.choice = mode == "auto" ? ToolUse::Choice::kAuto : ToolUse::Choice::kRequired;
  use.callable.clear();
  for (const Json& one : allowed["tools"]) {
    if (!one.is_object()) return bad(field + ".tools", "must hold objects");
    ASSIGN_OR_RETURN(const Json* function, chosen(one, *use.tools, field + ".tools"));
    if (std::find(use.callable.begin(), use.callable.end(), function) == use.callable.end())
      use.callable.push_back(function);
  }
  return {};
}

Status read_choice(const Json* choice, ToolUse& use) {
  if (choice == nullptr || is_text(choice, "auto")) {
    use.choice = use.tools != nullptr ? ToolUse::Choice::kAuto : ToolUse::Choice::kNone;
    return {};
  }
  if (is_text(choice, "none")) return {};
  const bool known = is_text(choice, "required") || choice->is_object();
  if (!known) return bad("tool_choice", "must be none, auto, required or the name of a tool");
  if (use.tools == nullptr) return bad("tool_choice", "needs tools");
  use.choice = ToolUse::Choice::kRequired;
  if (choice->is_string()) return {};
  if (choice->value("type", Json("function")) == "allowed_tools") return read_allowed(*choice, use);
  if (choice->value("type", Json("function")) != "function") return bad("tool_choice.type", "must be \"function\"");
  ASSIGN_OR_RETURN(const Json* function, chosen(*choice, *use.tools, "tool_choice"));
  use.callable = {function};
  use.parallel = false;
  return {};
}

// Whether a schema lets a value be a text. What says nothing is read as one.
bool may_be_text(const Json& schema) {
  if (!schema.is_object()) return true;
  for (const char* several : {"anyOf", "oneOf"}) {
    if (!schema.contains(several) || !schema[several].is_array()) continue;
    return std::any_of(schema[several].begin(), schema[several].end(), may_be_text);
  }
  if (schema.contains("enum") && schema["enum"].is_array()) {
    return std::any_of(schema["enum"].begin(), schema["enum"].end(), [](const Json& one) { return one.is_string(); });
  }
  const Json type = schema.value("type", Json());
  if (type.is_array()) return std::find(type.begin(), type.end(), "string") != type.end();
  return type.is_null() || type == "string";
}

ToolShape shape_of(const Json& function) {
  ToolShape shape;
  shape.name = function["name"].get<std::string>();
  const Json parameters = function.value("parameters", Json());
  if (!parameters.is_object() || !parameters.contains("properties") || !parameters["properties"].is_object()) {
    return shape;
  }
  for (const auto& [name, schema] : parameters["properties"].items()) {
    if (!may_be_text(schema)) shape.values.push_back(name);
  }
  return shape;
}

// The form of calls that a grammar can hold a reply to.
ToolFormat held_format(ToolFormat native, const Tokenizer& tokenizer) {
  ReplyForm form;
  form.tools = native;
  const bool tags = native == ToolFormat::kHermes && shown_specials(form, tokenizer).empty();
  return tags ? ToolFormat::kHermes : ToolFormat::kJson;
}

// What stands around the objects of calls.
struct CallMarkup {
  const char *begin, *open, *arguments, *close, *between, *end;
};
constexpr CallMarkup kTagMarkup = {"", "<tool_call>\n", "arguments", "\n</tool_call>", "\n", ""};
constexpr CallMarkup kListMarkup = {"[", "", "arguments", "", ", ", "]"};
constexpr CallMarkup kBareMarkup = {"", "", "parameters", "", "; ", ""};

// The calls that may be made, as engine/grammar/tool_calls.h has them.
std::string calls_text(const ToolUse& use, const CallMarkup& markup) {
  Json spec = Json::object();
  spec["begin"] = markup.begin;
  spec["open"] = markup.open;
  spec["arguments"] = markup.arguments;
  spec["close"] = markup.close;
  spec["between"] = markup.between;
  spec["end"] = markup.end;
  spec["many"] = use.parallel;
  spec["tools"] = Json::array();
  for (const Json* function : use.callable) {
    spec["tools"].push_back(
        {{"name", (*function)["name"]}, {"parameters", function->value("parameters", Json(nullptr))}});
  }
  return spec.dump();
}

}  // namespace

Result<ToolUse> read_tool_use(const Json& body, const ApiContext& context) {
  ToolUse use;
  Fields fields(body);
  fields.boolean("parallel_tool_calls", use.parallel);
  fields.boolean("include_reasoning", use.keep_reasoning);
  fields.boolean("separate_reasoning", use.separate_reasoning);
  std::string format;
  fields.text("reasoning_format", 32, format);
  RETURN_IF_ERROR(fields.status());
  if (format == "none") use.separate_reasoning = false;
  if (!format.empty() && format != "none" && format != "auto" && format != "deepseek") {
    return bad("reasoning_format", "must be none, auto or deepseek");
  }
  const Json* tools = fields.find("tools");
  if (tools != nullptr) {
    RETURN_IF_ERROR(check_tools(*tools));
    if (!tools->empty()) use.tools = tools;
  }
  if (use.tools != nullptr) {
    for (const Json& tool : *use.tools) use.callable.push_back(&tool["function"]);
  }
  RETURN_IF_ERROR(read_choice(fields.find("tool_choice"), use));
  if (use.choice == ToolUse::Choice::kAuto && !context.auto_tool_choice) {
    return bad("tool_choice", "must not be auto on this server, which runs with --no-enable-auto-tool-choice");
  }
  if (use.held() && context.grammars == nullptr) {
    return unimplemented("tool_choice: calls cannot be demanded of this server", "tool_choice");
  }
  return use;
}

std::optional<ReplyForm> reply_form(const ToolUse& use, const std::string& prompt, const ApiContext& context) {
  ReplyForm form;
  if (use.separate_reasoning) form.reasoning = context.reasoning_format;
  form.start = reasoning_start(form.reasoning, prompt);
  if (use.choice == ToolUse::Choice::kAuto) form.tools = context.tool_format;
  if (use.held()) form.tools = held_format(context.tool_format, *context.tokenizer);
  form.one_call = !use.parallel;
  if (use.choice != ToolUse::Choice::kNone) {
    for (const Json* function : use.callable) form.known.push_back(shape_of(*function));
  }
  form.keep_reasoning = use.keep_reasoning;
  if (form.tools == ToolFormat::kNone && form.reasoning == ReasoningFormat::kNone) return std::nullopt;
  return form;
}

GrammarSpec calls_grammar(const ToolUse& use, const ReplyForm& form, const grammar::FreeStart& before) {
  const bool tags = form.tools == ToolFormat::kHermes;
  return {GrammarSpec::Kind::kToolCalls, calls_text(use, tags ? kTagMarkup : kListMarkup), before, {}};
}

std::string calls_beside_form(const ToolUse& use, const ApiContext& context) {
  if (use.choice != ToolUse::Choice::kAuto) return {};
  if (context.tool_format == ToolFormat::kJson) return calls_text(use, kBareMarkup);
  const bool tags = context.tool_format == ToolFormat::kHermes;
  return tags && held_format(context.tool_format, *context.tokenizer) == ToolFormat::kHermes
             ? calls_text(use, kTagMarkup)
             : "";
}

grammar::FreeStart reasoning_before(const ReplyForm& form, const ApiContext& context) {
  const ThinkMarks marks = think_marks(form.reasoning);
  for (const std::string_view mark : {marks.open, marks.close}) {
    const auto id = context.tokenizer->token_id(mark);
    if (id && context.tokenizer->is_special(*id)) return {};
  }
  if (form.start == ReplyForm::Start::kClosed || marks.close.empty()) return {};
  const bool opened = form.start == ReplyForm::Start::kOpen;
  return {opened ? std::string() : std::string(marks.open), std::string(marks.close)};
}

std::vector<Token> shown_specials(const ReplyForm& form, const Tokenizer& tokenizer) {
  std::vector<Token> ids;
  for (const std::string& mark : form.marks()) {
    const auto id = tokenizer.token_id(mark);
    if (id && tokenizer.is_special(*id)) ids.push_back(*id);
  }
  return ids;
}

}  // namespace foregate
