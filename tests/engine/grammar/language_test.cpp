// Which texts each kind of grammar lets through, and which grammars are refused.
#include <nlohmann/json.hpp>

#include "engine/grammar/utf8_ranges.h"
#include "tests/engine/grammar/grammar_fixture.h"

namespace foregate::grammar {
namespace {

void expect_language(Kind kind, const std::string& source, const std::vector<std::string>& in,
                     const std::vector<std::string>& out) {
  const auto constraint = compiled(kind, source);
  if (constraint == nullptr) return;
  for (const auto& text : in) EXPECT_TRUE(matches(*constraint, text)) << source.substr(0, 300) << " refuses " << text;
  for (const auto& text : out) EXPECT_FALSE(matches(*constraint, text)) << source.substr(0, 300) << " takes " << text;
}

void expect_refused(Kind kind, const std::string& source, const std::string& why) {
  auto made = bytes_compiler().compile({kind, source});
  ASSERT_FALSE(made.ok()) << source.substr(0, 100);
  EXPECT_NE(made.status().message().find(why), std::string::npos) << made.status().message();
}

TEST(GrammarText, UtfRangesSpellExactlyTheirCharacters) {
  const std::vector<CodeRange> cases = {{0, kMaxCodePoint}, {0x7E, 0x81},   {0x7FE, 0x802},
                                        {0xFFFD, 0x10005},  {0x3B1, 0x3C9}, {0x10FFFE, 0x10FFFF}};
  for (const CodeRange& whole : cases) {
    std::vector<ByteSequence> sequences;
    for (const CodeRange& range : normalized({whole})) append_sequences(range, sequences);
    for (std::uint32_t code = whole.low > 3000 ? whole.low - 3000 : 0;
         code <= std::min(kMaxCodePoint, whole.high + 3000); ++code) {
      if (code >= 0xD800 && code <= 0xDFFF) continue;
      std::string text;
      append_utf8(code, text);
      int spelled = 0;
      for (const ByteSequence& s : sequences) {
        bool fits = s.length == static_cast<int>(text.size());
        for (int i = 0; fits && i < s.length; ++i) {
          const auto byte = static_cast<std::uint8_t>(text[static_cast<std::size_t>(i)]);
          fits = s.bytes[static_cast<std::size_t>(i)].low <= byte && byte <= s.bytes[static_cast<std::size_t>(i)].high;
        }
        spelled += fits ? 1 : 0;
      }
      ASSERT_EQ(spelled, whole.low <= code && code <= whole.high ? 1 : 0) << code;
      if (whole.high == kMaxCodePoint && code > 0x3000) code += 97;
    }
  }
}

TEST(Gbnf, ReadsWhatUsersOfLlamaCppWrite) {
  expect_language(Kind::kGbnf, "root ::= (\"yes\" | \"no\") \".\"?", {"yes", "no", "no."}, {"", "ye", "yesno", "no.."});
  expect_language(Kind::kGbnf, R"GBNF(# a calculator
root  ::= expr "\n"
expr  ::= term ([-+*/] term)*
term  ::= num | "(" ws expr ws ")"
num   ::= [0-9]+
ws    ::= [ \t]*)GBNF",
                  {"1+2*(3)\n", "((7))\n", "( 1-2 )\n"}, {"1+\n", "(1\n", "1)\n", "1"});
  expect_language(Kind::kGbnf, "root ::= [a-c]{2,3} [^a-z]{0,2} .{1}", {"abX", "abc12z", "aaé漢"},
                  {"a", "abcd12", "ab123z"});
  expect_language(Kind::kGbnf, "root ::= a\na ::= \"\\x41\\u00e9\" | \"b\"\n  | \"c\"", {"Aé", "b", "c"}, {"A", "a"});
  // Rules that are nested, and lists that are not.
  expect_language(Kind::kGbnf, "root ::= \"a\" root \"b\" | \"\"", {"", "ab", "aaabbb"}, {"a", "aab", "abb", "ba"});
  expect_language(Kind::kGbnf, "root ::= \"x\" \",\" root | \"x\"", {"x", "x,x,x"}, {"", "x,", ",x"});
}

TEST(Gbnf, RefusesWhatIsWrong) {
  expect_refused(Kind::kGbnf, "", "no rule named root");
  expect_refused(Kind::kGbnf, "start ::= \"a\"", "no rule named root");
  expect_refused(Kind::kGbnf, "root ::= missing", "rule \"missing\"");
  expect_refused(Kind::kGbnf, "root ::= root \"a\" | \"b\"", "left-recursive");
  expect_refused(Kind::kGbnf, "root ::= a\na ::= b? root \"x\" | \"y\"\nb ::= \"z\"", "left-recursive");
  expect_refused(Kind::kGbnf, "root ::= \"a\" root", "allows no text");
  expect_refused(Kind::kGbnf, "root ::= []", "allows no text");
  expect_refused(Kind::kGbnf, "root ::= \"a", "not closed");
  expect_refused(Kind::kGbnf, "root ::= [b-a]", "backwards");
  expect_refused(Kind::kGbnf, "root ::= \"a\"\nroot ::= \"b\"", "twice");
  expect_refused(Kind::kGbnf, "root ::= \"\xff\"", "UTF-8");
  expect_refused(Kind::kGbnf, "root ::= " + std::string(60'000, '(') + "\"a\"" + std::string(60'000, ')'), "deeply");
  expect_refused(Kind::kGbnf, "root ::= ((([a-z]{1,1000}){1,1000}){1,1000}){1,1000}", "too large");
  expect_refused(Kind::kGbnf, "root ::= *", "expected");
}

TEST(Gbnf, LongChainsOfRulesCostNoStack) {
  std::string chain = "root ::= r0\n";
  for (int i = 0; i < 5000; ++i) chain += "r" + std::to_string(i) + " ::= \"(\" r" + std::to_string(i + 1) + " \")\"\n";
  expect_language(Kind::kGbnf, chain + "r5000 ::= \"x\"", {std::string(5000, '(') + "x" + std::string(5000, ')')},
                  {"x"});
}

TEST(Gbnf, NestedRepetitionOfNothingIsNothing) {
  expect_language(Kind::kGbnf, "root ::= (((\"a\"?)*)+)* \"b\"", {"b", "aaab"}, {"a", ""});
  expect_language(Kind::kGbnf, "root ::= (a* b)*\na ::= \"\"\nb ::= \"x\"?", {"", "xxx"}, {"y"});
}

TEST(Regex, MatchesTheWholeText) {
  expect_language(Kind::kRegex, R"(\d{3}-\d{4})", {"123-4567"}, {"123-456", "123-45678", "a123-4567"});
  expect_language(Kind::kRegex, R"(^(?:cat|dog)s?$)", {"cat", "dogs"}, {"cow", "catss"});
  expect_language(Kind::kRegex, R"([^\s"]+@\w+\.(com|org))", {"a.b@x.com"}, {"a b@x.com", "@x.com"});
  expect_language(Kind::kRegex, R"(a{2,}b{0,1}c*?)", {"aa", "aaabccc"}, {"a", "aabb"});
  expect_language(Kind::kRegex, R"([\]\-x-z]+|\u00e9|{x}|a{,2})", {"]-y", "é", "{x}", "a{,2}"}, {"w", "e"});
  expect_language(Kind::kRegex, "(?P<year>[0-9]{4})|(?<y>ab)", {"2024", "ab"}, {"20"});
  expect_language(Kind::kRegex, ".", {"a", "漢", "\t"}, {"\n", "", "ab"});
}

TEST(Regex, RefusesByName) {
  expect_refused(Kind::kRegex, "(", "not closed");
  expect_refused(Kind::kRegex, "*a", "nothing to repeat");
  expect_refused(Kind::kRegex, "a**", "nothing to repeat");
  expect_refused(Kind::kRegex, "a)", "no opening");
  expect_refused(Kind::kRegex, "(?=a)b", "look-ahead");
  expect_refused(Kind::kRegex, "(?<!a)b", "look-behind");
  expect_refused(Kind::kRegex, "(a)\\1", "back-reference");
  expect_refused(Kind::kRegex, "\\bword\\b", "\\b");
  expect_refused(Kind::kRegex, "\\p{L}", "\\p");
  expect_refused(Kind::kRegex, "(a$)b", "$ within a group");
  expect_refused(Kind::kRegex, "a^b", "^ after");
  expect_refused(Kind::kRegex, std::string(60'000, '('), "deeply");
  expect_refused(Kind::kRegex, "(((a{1000}){1000}){1000}){1000}", "too large");
}

TEST(Choice, IsOneOfTheStrings) {
  expect_language(Kind::kChoice, R"(["red", "green", "gr\u00fcn"])", {"red", "green", "grün"}, {"", "re", "redgreen"});
  expect_refused(Kind::kChoice, "[]", "not empty");
  expect_refused(Kind::kChoice, "[1]", "strings");
  std::string many = "[";
  for (int i = 0; i < 20'000; ++i) many += (i == 0 ? "\"k" : ",\"k") + std::to_string(i) + "\"";
  expect_language(Kind::kChoice, many + "]", {"k0", "k19999"}, {"k20000", "k"});
}

TEST(JsonObject, IsAnyObject) {
  expect_language(Kind::kJsonObject, "",
                  {"{}", "{ }", R"({"a": [1, -2.5e3, true, null, {"b": "\u00e9\n"}]})", "{\n  \"k\": {}\n}"},
                  {"", "[]", "1", "{\"a\"}", "{\"a\":}", R"({"a":1,})", R"({a:1})", "{\"a\":\"\n\"}",
                   R"({"a":"\ud800"})", "{\"a\":01}"});
}

TEST(JsonObject, DeepNestingIsReadToItsEnd) {
  std::string text = "{\"a\":";
  for (int i = 0; i < 500; ++i) text += i % 2 == 0 ? "[" : "{\"x\":";
  text += "1";
  for (int i = 499; i >= 0; --i) text += i % 2 == 0 ? "]" : "}";
  EXPECT_TRUE(matches(*compiled(Kind::kJsonObject, ""), text + "}"));
  EXPECT_FALSE(matches(*compiled(Kind::kJsonObject, ""), text));
}

TEST(Grammar, TooManyReadingsEndWithAnError) {
  // Every "a" may be one of two rules that must be told apart by what closes them: the readings double each time.
  const auto constraint = compiled(
      Kind::kGbnf,
      "root ::= p | q\np ::= \"a\" m \"b\"\nq ::= \"a\" m n \"c\"\nm ::= p | q | \"x\"\nn ::= \"y\" | \"z\" n");
  ASSERT_NE(constraint, nullptr);
  auto state = constraint->start();
  Status status;
  for (int i = 0; i < 64 && status.ok(); ++i) {
    status = state->accept('a');
    if (status.ok()) status = state->allowed().ok() ? Status() : state->allowed().status();
  }
  EXPECT_EQ(status.code(), Code::kInvalidArgument) << status.to_string();
}

}  // namespace
}  // namespace foregate::grammar
