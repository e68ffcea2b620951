#include "engine/grammar/json_schema.h"

#include <algorithm>
#include <deque>
#include <map>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <utility>

#include "engine/api/limits.h"
#include "engine/grammar/json_text.h"
#include "engine/grammar/regex.h"
#include "engine/grammar/schema_fields.h"

namespace foregate::grammar {
namespace {

struct Format {
  const char* name;
  const char* pattern;
};
#define FOREGATE_DATE \
  "[12]\\d{3}-((0[13578]|1[02])-(0[1-9]|[12]\\d|3[01])|(0[469]|11)-(0[1-9]|[12]\\d|30)|02-(0[1-9]|1\\d|2[0-8]))"
#define FOREGATE_TIME "([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,6})?(Z|[+-]([01]\\d|2[0-3]):[0-5]\\d)"
constexpr Format kFormats[] = {
    {"date", "^(" FOREGATE_DATE ")$"},
    {"time", "^(" FOREGATE_TIME ")$"},
    {"date-time", "^(" FOREGATE_DATE ")T(" FOREGATE_TIME ")$"},
    {"uuid", "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"},
    {"ipv4", "^((25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)\\.){3}(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)$"},
    {"hostname", "^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?(\\.[a-z]([a-z0-9-]{0,30}[a-z0-9])?){0,4}$"},
    {"email",
     "^[A-Za-z0-9_+-]{1,32}(\\.[A-Za-z0-9_+-]{1,16}){0,3}@[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?(\\.[a-z]{2,12}){1,3}$"},
};
#undef FOREGATE_DATE
#undef FOREGATE_TIME

class SchemaCompiler {
 public:
  SchemaCompiler(const Json& root, const GrammarLimits& limits, Grammar& grammar)
      : root_(root), limits_(limits), grammar_(grammar), rules_(grammar_) {}

  Result<ExprId> run() {
    const ExprId whole = grammar_.rule(reference("#"));
    while (!open_.empty()) {
      const auto [id, at, where] = open_.front();
      open_.pop_front();
      ASSIGN_OR_RETURN(const ExprId body, value(*at, where, 0));
      grammar_.define(id, body);
    }
    return whole;
  }

 private:
  struct Open {
    RuleId id;
    const Json* schema;
    std::string where;
  };

  // The rule of what "#/..." names, which exists; compiled later.
  RuleId reference(const std::string& pointer) {
    const auto [found, fresh] = references_.try_emplace(pointer, 0);
    if (fresh) {
      found->second = grammar_.add_rule(kNoExpr);
      open_.push_back({found->second, resolve(root_, pointer), pointer});
    }
    return found->second;
  }

  Result<ExprId> value(const Json& schema, const std::string& where, std::size_t depth) {
    if (depth > limits_.depth) return schema_error(Code::kInvalidArgument, where, "schemas are nested too deeply");
    if (grammar_.exprs() > limits_.exprs) return schema_error(Code::kInvalidArgument, where, "the schema is too large");
    if (schema.is_boolean()) return schema.get<bool>() ? rules_.value() : grammar_.chars({});
    if (!schema.is_object())
      return schema_error(Code::kInvalidArgument, where, "a schema must be an object or a boolean");
    const std::string unknown = first_of(schema, {"not", "if", "$dynamicRef", "$recursiveRef"});
    if (!unknown.empty()) return schema_error(Code::kUnimplemented, where, unknown + " is not supported");
    if (schema.contains("$ref")) return follow(schema, where);
    if (schema.contains("const") || schema.contains("enum")) return listed(schema, where);
    for (const char* keyword : {"anyOf", "oneOf", "allOf"}) {
      if (schema.contains(keyword)) return combined(schema, keyword, where, depth);
    }
    ASSIGN_OR_RETURN(const auto named, named_types(schema, where));
    return of_types(schema, named ? *named : implied_types(schema), where, depth);
  }

  // Without `type` a schema says something about values of one type only; those are what is written then.
  static unsigned implied_types(const Json& schema) {
    if (!first_of(schema, {"properties", "required", "additionalProperties", "patternProperties", "propertyNames",
                           "minProperties", "maxProperties", "dependentRequired", "dependentSchemas"})
             .empty()) {
      return kObject;
    }
    if (!first_of(schema, {"items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains"}).empty())
      return kArray;
    if (!first_of(schema, {"minLength", "maxLength", "pattern", "format"}).empty()) return kString;
    if (!first_of(schema, {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}).empty())
      return kNumber;
    return kAllTypes;
  }

  Result<ExprId> of_types(const Json& schema, unsigned types, const std::string& where, std::size_t depth) {
    if (types == kAllTypes && implied_types(schema) == kAllTypes) return rules_.value();
    std::vector<ExprId> choices;
    if ((types & kObject) != 0) {
      ASSIGN_OR_RETURN(const ExprId one, object(schema, where, depth));
      choices.push_back(one);
    }
    if ((types & kArray) != 0) {
      ASSIGN_OR_RETURN(const ExprId one, array(schema, where, depth));
      choices.push_back(one);
    }
    if ((types & kString) != 0) {
      ASSIGN_OR_RETURN(const ExprId one, string(schema, where));
      choices.push_back(one);
    }
    if ((types & (kNumber | kInteger)) != 0) {
      ASSIGN_OR_RETURN(const ExprId one, number(schema, (types & kNumber) == 0, where));
      choices.push_back(one);
    }
    if ((types & kBoolean) != 0) choices.push_back(rules_.boolean());
    if ((types & kNull) != 0) choices.push_back(rules_.null());
    return grammar_.choice(std::move(choices));
  }

  Result<ExprId> follow(const Json& schema, const std::string& where) {
    const Json& target = schema["$ref"];
    if (!target.is_string()) return schema_error(Code::kInvalidArgument, where, "$ref must be a string");
    const std::string other = other_assertion(schema, {"$ref"});
    if (!other.empty()) return schema_error(Code::kUnimplemented, where, other + " beside $ref is not supported");
    const auto& pointer = target.get_ref<const std::string&>();
    if (pointer.empty() || pointer[0] != '#') {
      return schema_error(Code::kUnimplemented, where, "$ref is supported within the schema only");
    }
    if (resolve(root_, pointer) == nullptr)
      return schema_error(Code::kInvalidArgument, where, "$ref names nothing in the schema");
    return grammar_.rule(reference(pointer));
  }

  Result<ExprId> listed(const Json& schema, const std::string& where) {
    const std::string other = other_assertion(schema, {"const", "enum", "type"});
    if (!other.empty())
      return schema_error(Code::kUnimplemented, where, other + " beside enum or const is not supported");
    if (schema.contains("const") && schema.contains("enum")) {
      return schema_error(Code::kUnimplemented, where, "enum beside const is not supported");
    }
    const bool single = schema.contains("const");
    const Json alone = single ? Json::array({schema["const"]}) : Json();
    const Json& values = single ? alone : schema["enum"];
    if (!values.is_array() || values.empty())
      return schema_error(Code::kInvalidArgument, where, "enum must be a list that is not empty");
    if (values.size() > kMaxFormValues) {
      return schema_error(Code::kInvalidArgument, where,
                          "enum has more than " + std::to_string(kMaxFormValues) + " values");
    }
    ASSIGN_OR_RETURN(const auto named, named_types(schema, where));
    std::vector<ExprId> choices;
    for (const Json& one : values) {
      const unsigned type = type_of_value(one);
      const bool fits = !named || (*named & type) != 0 || (type == kInteger && (*named & kNumber) != 0);
      if (fits) choices.push_back(grammar_.text(literal(one)));
    }
    return choices.empty() ? grammar_.chars({}) : grammar_.choice(std::move(choices));
  }

  static std::string literal(const Json& one) {
    return one.is_string() ? "\"" + json_escaped(one.get_ref<const std::string&>()) + "\"" : one.dump();
  }

  Result<ExprId> combined(const Json& schema, const char* keyword, const std::string& where, std::size_t depth) {
    const std::string other = other_assertion(schema, {keyword});
    if (!other.empty()) {
      return schema_error(Code::kUnimplemented, where, other + " beside " + keyword + " is not supported");
    }
    const Json& list = schema[keyword];
    if (!list.is_array() || list.empty()) {
      return schema_error(Code::kInvalidArgument, where, std::string(keyword) + " must be a list that is not empty");
    }
    const bool all = keyword == std::string_view("allOf"), one = keyword == std::string_view("oneOf");
    if (all && list.size() > 1)
      return schema_error(Code::kUnimplemented, where, "allOf is supported with one schema only");
    if (one && !apart(list)) {
      return schema_error(Code::kUnimplemented, where,
                          "oneOf is supported where types, constants or required properties with constants tell its "
                          "schemas apart; use anyOf");
    }
    std::vector<ExprId> choices;
    for (std::size_t i = 0; i < list.size(); ++i) {
      ASSIGN_OR_RETURN(const ExprId choice, value(list[i], where + "/" + keyword + "/" + std::to_string(i), depth + 1));
      choices.push_back(choice);
    }
    return grammar_.choice(std::move(choices));
  }

  bool apart(const Json& list) const {
    if (list.size() > 64) return false;
    for (std::size_t i = 0; i < list.size(); ++i) {
      for (std::size_t k = i + 1; k < list.size(); ++k) {
        if (!disjoint(root_, list[i], list[k])) return false;
      }
    }
    return true;
  }

  Result<ExprId> string(const Json& schema, const std::string& where) {
    ASSIGN_OR_RETURN(const auto least, count_of(schema, "minLength", kMaxFormLength, where));
    ASSIGN_OR_RETURN(const auto most, count_of(schema, "maxLength", kMaxFormLength, where));
    const int limits =
        (least || most ? 1 : 0) + (schema.contains("pattern") ? 1 : 0) + (schema.contains("format") ? 1 : 0);
    if (limits > 1) {
      return schema_error(Code::kUnimplemented, where,
                          "only one of pattern, format and a length is supported at a time");
    }
    if (limits == 0) return rules_.string();
    if (schema.contains("pattern")) return matching(schema["pattern"], "pattern", where);
    if (schema.contains("format")) return formatted(schema["format"], where);
    if (most && *most < least.value_or(0)) return grammar_.chars({});
    const ExprId content = grammar_.repeat(json_char(grammar_), least.value_or(0), most.value_or(kUnbounded));
    return quoted(content);
  }

  ExprId quoted(ExprId content) {
    return own_rule(grammar_.sequence({grammar_.text("\""), content, grammar_.text("\"")}));
  }

  Result<ExprId> matching(const Json& pattern, const char* keyword, const std::string& where) {
    if (!pattern.is_string())
      return schema_error(Code::kInvalidArgument, where, std::string(keyword) + " must be a string");
    auto content = parse_regex(pattern.get_ref<const std::string&>(), RegexUse::kJsonContent, limits_, grammar_);
    if (!content.ok())
      return schema_error(content.status().code(), where, std::string(keyword) + " " + content.status().message());
    return quoted(*content);
  }

  Result<ExprId> formatted(const Json& format, const std::string& where) {
    for (const Format& known : kFormats) {
      if (format == known.name) return matching(known.pattern, "format", where);
    }
    return schema_error(Code::kUnimplemented, where,
                        "format is supported as date, time, date-time, uuid, ipv4, hostname and email");
  }

  Result<ExprId> number(const Json& schema, bool integer, const std::string& where) {
    if (schema.contains("multipleOf")) return schema_error(Code::kUnimplemented, where, "multipleOf is not supported");
    ASSIGN_OR_RETURN(const Bounds bounds, bounds_of(schema, integer, where));
    if (!bounds.least && !bounds.most) return integer ? rules_.integer() : rules_.number();
    const ExprId body = integer ? integer_between(bounds.least, bounds.most, grammar_)
                                : number_between(bounds.least, bounds.most, grammar_);
    return own_rule(body);
  }

  Result<ExprId> array(const Json& schema, const std::string& where, std::size_t depth) {
    const std::string unknown = first_of(schema, {"contains", "minContains", "maxContains", "unevaluatedItems"});
    if (!unknown.empty()) return schema_error(Code::kUnimplemented, where, unknown + " is not supported");
    if (schema.value("uniqueItems", Json(false)) != false) {
      return schema_error(Code::kUnimplemented, where, "uniqueItems is not supported");
    }
    ASSIGN_OR_RETURN(const auto least, count_of(schema, "minItems", kMaxFormLength, where));
    ASSIGN_OR_RETURN(const auto most, count_of(schema, "maxItems", kMaxFormLength, where));
    if (most && *most < least.value_or(0)) return grammar_.chars({});
    if (schema.contains("items") && schema["items"].is_array()) {
      return schema_error(Code::kUnimplemented, where, "a list of items is not supported; use prefixItems");
    }
    ExprId item = rules_.value();
    if (schema.contains("items")) {
      ASSIGN_OR_RETURN(item, value(schema["items"], where + "/items", depth + 1));
      if (least || most) item = own_rule(item);
    }
    if (schema.contains("prefixItems"))
      return tuple(schema, item, least.value_or(0), most.value_or(kUnbounded), where, depth);
    return own_rule(rules_.list("[", item, "]", least.value_or(0), most.value_or(kUnbounded)));
  }

  // All items that have a schema of their own, then others as far as they are asked for or described.
  Result<ExprId> tuple(const Json& schema, ExprId item, std::int32_t least, std::int32_t most, const std::string& where,
                       std::size_t depth) {
    const Json& list = schema["prefixItems"];
    if (!list.is_array() || list.empty())
      return schema_error(Code::kInvalidArgument, where, "prefixItems must be a list that is not empty");
    const ExprId comma = rules_.between(",");
    std::vector<ExprId> parts = {grammar_.text("["), rules_.space()};
    std::int32_t count = 0;
    for (const Json& one : list) {
      if (count == most) break;
      if (count > 0) parts.push_back(comma);
      ASSIGN_OR_RETURN(const ExprId expr, value(one, where + "/prefixItems/" + std::to_string(count), depth + 1));
      parts.push_back(expr);
      ++count;
    }
    const std::int32_t still = std::max(0, least - count);
    const bool described = schema.contains("items");
    const std::int32_t room = most != kUnbounded ? most - count : described ? kUnbounded : still;
    if (room != 0 && (described || still > 0)) {
      parts.push_back(grammar_.repeat(grammar_.sequence({comma, item}), still, described ? room : still));
    }
    parts.push_back(rules_.space());
    parts.push_back(grammar_.text("]"));
    return own_rule(grammar_.sequence(std::move(parts)));
  }

  Result<ExprId> object(const Json& schema, const std::string& where, std::size_t depth) {
    const std::string unknown =
        first_of(schema, {"patternProperties", "propertyNames", "minProperties", "maxProperties", "dependentRequired",
                          "dependentSchemas", "dependencies", "unevaluatedProperties"});
    if (!unknown.empty()) return schema_error(Code::kUnimplemented, where, unknown + " is not supported");
    ASSIGN_OR_RETURN(const std::vector<Member> members, members_of(schema, where, depth));
    ASSIGN_OR_RETURN(const ExprId others, other_members(schema, members, where, depth));
    const ExprId body = grammar_.sequence(
        {grammar_.text("{"), rules_.space(), object_body(members, others), rules_.space(), grammar_.text("}")});
    return own_rule(body);
  }

  struct Member {
    std::string name;
    ExprId expr;
    bool required;
  };

  Result<std::vector<Member>> members_of(const Json& schema, const std::string& where, std::size_t depth) {
    static const Json kNoProperties = Json::object(), kNoNames = Json::array();
    const Json& properties = schema.contains("properties") ? schema["properties"] : kNoProperties;
    const Json& required = schema.contains("required") ? schema["required"] : kNoNames;
    if (!properties.is_object()) return schema_error(Code::kInvalidArgument, where, "properties must be an object");
    if (!required.is_array()) return schema_error(Code::kInvalidArgument, where, "required must be a list");
    if (properties.size() + required.size() > 2 * std::size_t{kMaxFormMembers}) return too_many(where);
    std::unordered_map<std::string, bool> wanted;  // and whether it is described
    for (const Json& name : required) {
      if (!name.is_string()) return schema_error(Code::kInvalidArgument, where, "required must hold names");
      wanted.emplace(name.get<std::string>(), false);
    }
    std::size_t count = properties.size() + wanted.size();
    for (const auto& entry : properties.items()) count -= wanted.count(entry.key());
    if (count > kMaxFormMembers) return too_many(where);
    std::vector<Member> members;
    for (const auto& [name, property] : properties.items()) {
      const auto found = wanted.find(name);
      if (found != wanted.end()) found->second = true;
      ASSIGN_OR_RETURN(const ExprId one, value(property, where + "/properties/" + name, depth + 1));
      members.push_back({name, member(name, one), found != wanted.end()});
    }
    for (const Json& entry : required) {
      const auto& name = entry.get_ref<const std::string&>();
      if (std::exchange(wanted[name], true)) continue;
      const Json rest = schema.value("additionalProperties", Json(true));
      ASSIGN_OR_RETURN(const ExprId one, value(rest, where + "/additionalProperties", depth + 1));
      members.push_back({name, member(name, one), true});
    }
    return members;
  }

  static Status too_many(const std::string& where) {
    return schema_error(
        Code::kInvalidArgument, where,
        "properties and required name more than " + std::to_string(kMaxFormMembers) + " members of an object");
  }

  ExprId member(const std::string& name, ExprId one) {
    return grammar_.sequence({grammar_.text("\"" + json_escaped(name) + "\""), rules_.between(":"), one});
  }

  // A member that is not named; kNoExpr when there is none. Without a word about them a schema that names properties
  // gets those only; one that names none gets any.
  Result<ExprId> other_members(const Json& schema, const std::vector<Member>& members, const std::string& where,
                               std::size_t depth) {
    const auto found = schema.find("additionalProperties");
    if (found == schema.end() ? !members.empty() : *found == false) return kNoExpr;
    ExprId one = rules_.value();
    if (found != schema.end()) {
      ASSIGN_OR_RETURN(one, value(*found, where + "/additionalProperties", depth + 1));
    }
    return grammar_.sequence({other_key(members), rules_.between(":"), one});
  }

  // A key that is none of the names: as a walk through the tree of their characters, which is left somewhere or ends
  // before one of them does. Without escapes, which could spell a name in another way.
  ExprId other_key(const std::vector<Member>& members) {
    if (members.empty()) return rules_.string();
    struct Branch {
      std::map<std::uint32_t, std::size_t> next;
      bool name = false;
    };
    std::vector<Branch> tree(1);
    for (const Member& m : members) {
      std::size_t at = 0;
      for (std::size_t i = 0; i < m.name.size();) {
        auto code = next_code_point(m.name, i);
        if (!code.ok()) break;
        const auto [found, fresh] = tree[at].next.try_emplace(*code, tree.size());
        at = found->second;
        if (fresh) tree.emplace_back();
      }
      tree[at].name = true;
    }
    const std::vector<CodeRange> special = {{0, 0x1F}, {'"', '"'}, {'\\', '\\'}, {0x7F, 0x7F}};
    const ExprId rest = grammar_.repeat(grammar_.chars(special, true), 0, kUnbounded);
    const ExprId tail = own_rule(grammar_.sequence({rest, grammar_.text("\"")}));
    std::vector<RuleId> rules;
    for (std::size_t i = 0; i < tree.size(); ++i) rules.push_back(grammar_.add_rule(kNoExpr));
    for (std::size_t i = 0; i < tree.size(); ++i) {
      std::vector<CodeRange> taken = special;
      std::vector<ExprId> choices;
      if (!tree[i].name) choices.push_back(grammar_.text("\""));
      for (const auto& [code, next] : tree[i].next) {
        taken.push_back({code, code});
        if (code < 0x20 || code == '"' || code == '\\' || code == 0x7F) continue;
        choices.push_back(grammar_.sequence({grammar_.chars({{code, code}}), grammar_.rule(rules[next])}));
      }
      choices.push_back(grammar_.sequence({grammar_.chars(std::move(taken), true), tail}));
      grammar_.define(rules[i], grammar_.choice(std::move(choices)));
    }
    return grammar_.sequence({grammar_.text("\""), grammar_.rule(rules[0])});
  }

  // Members in the order of the schema; optional ones may be left out.
  ExprId object_body(const std::vector<Member>& members, ExprId others) {
    const ExprId comma = rules_.between(",");
    std::size_t first = 0;  // the first that is required
    while (first < members.size() && !members[first].required) ++first;
    std::vector<ExprId> rest;  // what may follow the first required one, from the end
    if (others != kNoExpr) rest.push_back(grammar_.repeat(grammar_.sequence({comma, others}), 0, kUnbounded));
    const auto followed = [&](const Member& m) {
      const ExprId one = grammar_.sequence({comma, m.expr});
      return m.required ? one : grammar_.optional(one);
    };
    std::size_t i = members.size();
    while (i > first + 1) rest.push_back(followed(members[--i]));
    if (rest.empty()) rest.push_back(grammar_.text(""));
    ExprId after =
        own_rule(grammar_.sequence(std::vector<ExprId>(rest.rbegin(), rest.rend())));  // once one was written
    ExprId begin = grammar_.text("");                                                  // before that
    if (first < members.size()) {
      begin = grammar_.sequence({members[first].expr, after});
      after = own_rule(grammar_.sequence({followed(members[first]), after}));
    } else if (others != kNoExpr) {
      begin = grammar_.optional(grammar_.sequence({others, after}));
    }
    for (i = first; i > 0; --i) {
      const Member& m = members[i - 1];
      begin = own_rule(grammar_.choice({grammar_.sequence({m.expr, after}), begin}));
      after = own_rule(grammar_.sequence({followed(m), after}));
    }
    return begin;
  }

  ExprId own_rule(ExprId body) { return grammar_.rule(grammar_.add_rule(body)); }
  const Json& root_;
  const GrammarLimits& limits_;
  Grammar& grammar_;
  JsonRules rules_;
  std::map<std::string, RuleId> references_;
  std::deque<Open> open_;
};

}  // namespace

Result<ExprId> parse_schema(const Json& schema, const GrammarLimits& limits, Grammar& grammar) {
  return SchemaCompiler(schema, limits, grammar).run();
}

Result<Grammar> grammar_of_schema(const Json& schema, const GrammarLimits& limits) {
  Grammar grammar;
  ASSIGN_OR_RETURN(const ExprId whole, parse_schema(schema, limits, grammar));
  grammar.set_root(grammar.add_rule(whole));
  return grammar;
}

Grammar grammar_of_any_object() {
  Grammar grammar;
  JsonRules rules(grammar);
  const ExprId object = rules.object();
  grammar.set_root(grammar.add_rule(object));
  return grammar;
}

}  // namespace foregate::grammar
