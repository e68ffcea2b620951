#include "server/openai/output_form.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "engine/grammar/compile.h"

namespace foregate {
namespace {

using Kind = GrammarSpec::Kind;

struct Asked {
  std::string field;
  GrammarSpec spec;
};

Status bad(const std::string& field, const std::string& what) {
  return invalid_argument(field + " " + what, field);
}

// The fields of one body; at most one of them may ask for something.
class FormReader {
 public:
  Status read(const Json& body) {
    if (const Json* format = member(body, "response_format")) RETURN_IF_ERROR(response_format(*format));
    if (const Json* outputs = member(body, "structured_outputs")) RETURN_IF_ERROR(structured_outputs(*outputs));
    RETURN_IF_ERROR(schema(member(body, "guided_json"), "guided_json"));
    RETURN_IF_ERROR(text(member(body, "guided_regex"), "guided_regex", Kind::kRegex));
    RETURN_IF_ERROR(choice(member(body, "guided_choice"), "guided_choice"));
    RETURN_IF_ERROR(text(member(body, "guided_grammar"), "guided_grammar", Kind::kGbnf));
    RETURN_IF_ERROR(schema(member(body, "json_schema"), "json_schema"));
    const Json* grammar = member(body, "grammar");
    if (grammar == nullptr || *grammar == "") return {};
    return text(grammar, "grammar", Kind::kGbnf);
  }
  const std::optional<Asked>& asked() const { return asked_; }

 private:
  static const Json* member(const Json& object, const char* name) {
    const auto found = object.find(name);
    return found == object.end() || found->is_null() ? nullptr : &*found;
  }
  Status ask(const std::string& field, Kind kind, std::string text) {
    if (asked_) return bad(field, "and " + asked_->field + " exclude each other");
    asked_ = Asked{field, {kind, std::move(text), {}, {}}};
    return {};
  }
  Status text(const Json* value, const std::string& field, Kind kind) {
    if (value == nullptr) return {};
    if (!value->is_string()) return bad(field, "must be a string");
    return ask(field, kind, value->get<std::string>());
  }
  Status choice(const Json* value, const std::string& field) {
    if (value == nullptr) return {};
    if (!value->is_array()) return bad(field, "must be a list of strings");
    return ask(field, Kind::kChoice, value->dump());
  }
  // A schema, or the text of one.
  Status schema(const Json* value, const std::string& field) {
    if (value == nullptr) return {};
    if (value->is_string()) return ask(field, Kind::kJsonSchema, value->get<std::string>());
    if (!value->is_object() && !value->is_boolean()) return bad(field, "must be a JSON schema");
    return ask(field, Kind::kJsonSchema, value->dump());
  }

  Status response_format(const Json& format) {
    const std::string field = "response_format";
    if (!format.is_object()) return bad(field, "must be an object");
    const Json* type = member(format, "type");
    if (type == nullptr || !type->is_string()) return bad(field + ".type", "must be a string");
    if (*type == "text") return {};
    if (*type == "json_object") {
      if (const Json* inner = member(format, "schema")) return schema(inner, field + ".schema");
      return ask(field, Kind::kJsonObject, "");
    }
    if (*type == "json_schema") {
      const Json* named = member(format, "json_schema");
      if (named == nullptr) return schema_or_missing(member(format, "schema"), field + ".json_schema");
      if (!named->is_object()) return bad(field + ".json_schema", "must be an object");
      return schema_or_missing(member(*named, "schema"), field + ".json_schema.schema");
    }
    if (*type == "regex") return text(member(format, "pattern"), field + ".pattern", Kind::kRegex);
    if (*type == "grammar") return text(member(format, "grammar"), field + ".grammar", Kind::kGbnf);
    if (*type == "structural_tag")
      return unimplemented("response_format.type: structural_tag is not supported", field + ".type");
    return bad(field + ".type", "must be text, json_object, json_schema, regex or grammar");
  }
  Status schema_or_missing(const Json* value, const std::string& field) {
    if (value == nullptr) return bad(field, "is missing");
    return schema(value, field);
  }

  Status structured_outputs(const Json& outputs) {
    const std::string field = "structured_outputs";
    if (!outputs.is_object()) return bad(field, "must be an object");
    for (const auto& [name, value] : outputs.items()) {
      if (value.is_null() || value == false) continue;
      const std::string where = field + "." + name;
      if (name == "json") {
        RETURN_IF_ERROR(schema(&value, where));
      } else if (name == "regex") {
        RETURN_IF_ERROR(text(&value, where, Kind::kRegex));
      } else if (name == "choice") {
        RETURN_IF_ERROR(choice(&value, where));
      } else if (name == "grammar") {
        RETURN_IF_ERROR(text(&value, where, Kind::kGbnf));
      } else if (name == "json_object") {
        if (value != true) return bad(where, "must be a boolean");
        RETURN_IF_ERROR(ask(where, Kind::kJsonObject, ""));
      } else {
        return unimplemented(where + " is not supported", where);
      }
    }
    return {};
  }

  std::optional<Asked> asked_;
};

}  // namespace

Result<std::shared_ptr<const TokenConstraint>> read_output_form(const Json& body, const ApiContext& context,
                                                                const grammar::FreeStart& before,
                                                                const std::string& calls) {
  FormReader reader;
  RETURN_IF_ERROR(reader.read(body));
  if (!reader.asked()) return std::shared_ptr<const TokenConstraint>();
  Asked asked = *reader.asked();
  asked.spec.before = before;
  asked.spec.calls = calls;
  if (context.grammars == nullptr) {
    return unimplemented(asked.field + " is not supported by this server", asked.field);
  }
  auto made = context.grammars->compile(asked.spec);
  if (!made.ok() && made.status().field() == "tools") {
    return Status(made.status().code(), "tools beside " + asked.field + ": " + made.status().message(), "tools");
  }
  if (!made.ok()) return Status(made.status().code(), asked.field + " " + made.status().message(), asked.field);
  return made;
}

}  // namespace foregate
