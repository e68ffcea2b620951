// Calls of tools as a form, and free text before a form.
#include <random>

#include "engine/grammar/free_text.h"
#include "tests/engine/grammar/grammar_fixture.h"

namespace foregate::grammar {
namespace {

std::shared_ptr<const TokenConstraint> calls(const std::string& tools, bool many, bool tags, FreeStart before = {}) {
  const std::string markup =
      tags ? R"("begin": "", "open": "<tool_call>\n", "close": "\n</tool_call>", "between": "\n", "end": "")"
           : R"("begin": "[", "open": "", "close": "", "between": ", ", "end": "]")";
  const std::string text = "{" + markup + R"(, "arguments": "arguments", "many": )" + (many ? "true" : "false") +
                           ", \"tools\": " + tools + "}";
  auto made = bytes_compiler().compile({Kind::kToolCalls, text, before});
  EXPECT_TRUE(made.ok()) << made.status().message();
  return made.ok() ? *made : nullptr;
}

constexpr const char* kTools =
    R"([{"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}},
    "required": ["a"], "additionalProperties": false}}, {"name": "g", "parameters": null}, {"name": "h", "parameters": {}}])";

TEST(CallsGrammar, OnlyCallsThatTheSchemasAccept) {
  const auto one = calls(kTools, false, true);
  ASSERT_NE(one, nullptr);
  const auto tag = [](const std::string& inner) { return "<tool_call>\n" + inner + "\n</tool_call>"; };
  const std::string good = tag(R"({"name": "f", "arguments": {"a": 5}})");
  EXPECT_TRUE(matches(*one, good));
  EXPECT_TRUE(matches(*one, tag(R"({"name": "g", "arguments": {}})")));
  EXPECT_TRUE(matches(*one, tag(R"({"name": "h", "arguments": {"any": [1]}})")));
  EXPECT_FALSE(matches(*one, tag(R"({"name": "f", "arguments": {}})")));
  EXPECT_FALSE(matches(*one, tag(R"({"name": "f", "arguments": {"a": "5"}})")));
  EXPECT_FALSE(matches(*one, tag(R"({"name": "g", "arguments": {"a": 1}})")));
  EXPECT_FALSE(matches(*one, tag(R"({"name": "x", "arguments": {}})")));
  EXPECT_FALSE(matches(*one, good + "\n" + good)) << "one call only";
  EXPECT_FALSE(matches(*one, "hello"));
  const auto many = calls(kTools, true, true);
  EXPECT_TRUE(matches(*many, good + "\n" + good));
  const auto list = calls(kTools, true, false);
  EXPECT_TRUE(matches(*list, R"([{"name": "g", "arguments": {}}, {"name": "f", "arguments": {"a": -1}}])"));
  EXPECT_FALSE(matches(*list, "[]"));
}

TEST(CallsGrammar, ReferencesStayWithinTheirTool) {
  const auto both = calls(R"([{"name": "f", "parameters": {"$ref": "#/$defs/a", "$defs": {"a": {"const": {"x": 1}}}}},
                              {"name": "g", "parameters": {"$ref": "#/$defs/a", "$defs": {"a": {"const": {"y": 2}}}}}])",
                          false, false);
  EXPECT_TRUE(matches(*both, R"([{"name": "f", "arguments": {"x":1}}])"));
  EXPECT_TRUE(matches(*both, R"([{"name": "g", "arguments": {"y":2}}])"));
  EXPECT_FALSE(matches(*both, R"([{"name": "g", "arguments": {"x":1}}])"));
}

// One automaton for both: what is read decides, also where they begin alike.
TEST(CallsGrammar, InsteadOfAForm) {
  const std::string bare =
      R"({"begin": "", "open": "", "arguments": "parameters", "close": "", "between": "; ", "end": "", "many": true, "tools": )";
  GrammarSpec spec{Kind::kJsonSchema,
                   R"({"type": "object", "properties": {"name": {"const": "f"}, "b": {"$ref": "#/$defs/x"}},
                   "required": ["name", "b"], "additionalProperties": false, "$defs": {"x": {"type": "boolean"}}})",
                   {},
                   bare + kTools + "}"};
  auto made = bytes_compiler().compile(spec);
  ASSERT_TRUE(made.ok()) << made.status().message();
  EXPECT_TRUE(matches(**made, R"({"name": "f", "parameters": {"a": 5}})"));
  EXPECT_TRUE(matches(**made, R"({"name": "f", "b": true})"));
  EXPECT_TRUE(matches(**made, R"({"name": "g", "parameters": {}}; {"name": "f", "parameters": {"a": 1}})"));
  EXPECT_FALSE(matches(**made, R"({"name": "f", "b": true}; {"name": "g", "parameters": {}})"));
  EXPECT_FALSE(matches(**made, R"({"name": "g", "b": true})"));
  EXPECT_FALSE(matches(**made, R"({"name": "f", "parameters": {"a": 5}, "b": true})"));
  // The form alone is another grammar, also for the cache.
  auto alone = bytes_compiler().compile({spec.kind, spec.text});
  ASSERT_TRUE(alone.ok());
  EXPECT_FALSE(matches(**alone, R"({"name": "f", "parameters": {"a": 5}})"));
  for (const Kind kind : {Kind::kGbnf, Kind::kRegex, Kind::kChoice, Kind::kJsonObject}) {
    const char* text = kind == Kind::kGbnf ? "root ::= \"yes\"" : kind == Kind::kRegex ? "yes" : R"(["yes"])";
    auto other = bytes_compiler().compile({kind, text, {"", "</think>"}, spec.calls});
    ASSERT_TRUE(other.ok()) << other.status().message();
    EXPECT_TRUE(matches(**other, R"(a</think>{"name": "g", "parameters": {}})"));
    EXPECT_EQ(matches(**other, "a</think>yes"), kind != Kind::kJsonObject);
  }
  spec.calls = bare + R"([{"name": "bad", "parameters": {"not": {}}}]})";
  const auto bad = bytes_compiler().compile(spec);
  ASSERT_FALSE(bad.ok());
  EXPECT_EQ(bad.status().field(), "tools");
  EXPECT_EQ(bad.status().message().find("bad: "), 0u) << bad.status().message();
}

TEST(CallsGrammar, FaultsNameTheTool) {
  auto made = bytes_compiler().compile(
      {Kind::kToolCalls, R"({"begin": "", "open": "", "close": "", "between": "", "end": "", "arguments": "arguments",
                             "many": false, "tools": [{"name": "bad", "parameters": {"not": {}}}]})"});
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.status().message().find("bad: "), 0u) << made.status().message();
}

TEST(FreeText, EndsWithTheFirstMark) {
  auto made = bytes_compiler().compile({Kind::kChoice, R"(["yes"])", {"", "</think>"}});
  ASSERT_TRUE(made.ok());
  for (const char* text : {"</think>yes", "a b </think>\n\nyes", "<<</</thin</thin</think>yes", "é</think> yes"}) {
    EXPECT_TRUE(matches(**made, text)) << text;
  }
  for (const char* text : {"yes", "a </think>no", "a</think>b</think>yes", "</think>"}) {
    EXPECT_FALSE(matches(**made, text)) << text;
  }
  auto optional = bytes_compiler().compile({Kind::kChoice, R"(["yes"])", {"<think>", "</think>"}});
  ASSERT_TRUE(optional.ok());
  EXPECT_TRUE(matches(**optional, "yes"));
  EXPECT_TRUE(matches(**optional, "<think>no</think>yes"));
  EXPECT_FALSE(matches(**optional, "no</think>yes"));
}

// Any text over the characters of the mark: let through exactly when the mark is its end and nowhere before.
TEST(FreeText, AgreesWithSearch) {
  std::mt19937 random(3);
  for (const std::string mark : {"ab", "aab", "abab", "aaa", "abaa"}) {
    auto made = bytes_compiler().compile({Kind::kChoice, R"(["!"])", {"", mark}});
    ASSERT_TRUE(made.ok());
    int in = 0;
    for (int round = 0; round < 600; ++round) {
      std::string text;
      for (std::size_t i = 0; i < random() % 12; ++i) text += "abc"[random() % 3];
      if (random() % 2 == 0) text += mark;
      const bool wanted = text.size() >= mark.size() && text.find(mark) == text.size() - mark.size();
      in += wanted ? 1 : 0;
      ASSERT_EQ(matches(**made, text + "!"), wanted) << mark << " in " << text;
    }
    EXPECT_GT(in, 50);
  }
}

// Long reasoning nests nothing: what is remembered does not grow with it.
TEST(FreeText, MayBeLong) {
  auto made = bytes_compiler().compile({Kind::kJsonObject, "", {"", "</think>"}});
  ASSERT_TRUE(made.ok());
  std::string text;
  for (int i = 0; i < 20000; ++i) text += i % 7 == 0 ? "<<" : "thought ";
  EXPECT_TRUE(matches(**made, text + "</think>{}"));
  const auto& grammar = dynamic_cast<const CompiledGrammar&>(**made);
  EXPECT_LT(grammar.bytes(), 1u << 20);
}

}  // namespace
}  // namespace foregate::grammar
