// JSON Schema: what each keyword lets through, and which are refused by name.
#include "tests/engine/grammar/grammar_fixture.h"

namespace foregate::grammar {
namespace {

void expect_schema(const std::string& schema, const std::vector<std::string>& in, const std::vector<std::string>& out) {
  const auto constraint = compiled(Kind::kJsonSchema, schema);
  if (constraint == nullptr) return;
  for (const auto& text : in) EXPECT_TRUE(matches(*constraint, text)) << schema.substr(0, 300) << " refuses " << text;
  for (const auto& text : out) EXPECT_FALSE(matches(*constraint, text)) << schema.substr(0, 300) << " takes " << text;
}

void expect_refused(const std::string& schema, const std::string& why, Code code) {
  auto made = bytes_compiler().compile({Kind::kJsonSchema, schema});
  ASSERT_FALSE(made.ok()) << schema.substr(0, 200);
  EXPECT_NE(made.status().message().find(why), std::string::npos) << made.status().message();
  EXPECT_EQ(made.status().code(), code) << made.status().message();
}

TEST(Schema, TypesAndConstants) {
  expect_schema(R"({"type":"string"})", {R"("")", R"("a\"b")", R"("é")"}, {"a", "1", "null"});
  expect_schema(R"({"type":"integer"})", {"0", "-7", "120"}, {"01", "1.5", "-0", "-", ""});
  expect_schema(R"({"type":"number"})", {"0", "-0.5", "1e5", "12.25E-3"}, {".5", "1.", "+1"});
  expect_schema(R"({"type":["boolean","null"]})", {"true", "false", "null"}, {"0", "\"true\""});
  expect_schema(R"({"enum":["a",1,null,{"k":[true]}]})", {R"("a")", "1", "null", R"({"k":[true]})"}, {R"("b")", "2"});
  expect_schema(R"({"const":"x\ny"})", {R"("x\ny")"}, {"\"x\ny\""});
  expect_schema(R"({"type":"string","enum":["a",1]})", {R"("a")"}, {"1"});
  expect_schema("true", {"1", "[{}]"}, {""});
  expect_schema(R"({"description":"anything","x-other":1})", {"1", "{}"}, {"x"});
}

TEST(Schema, Numbers) {
  expect_schema(R"({"type":"integer","minimum":5,"maximum":123})", {"5", "9", "10", "99", "100", "123"},
                {"4", "124", "1000", "05", "-5"});
  expect_schema(R"({"type":"integer","minimum":-20,"exclusiveMaximum":3})", {"-20", "-1", "0", "2"},
                {"-21", "3", "-0"});
  expect_schema(R"({"type":"integer","minimum":1.5,"maximum":3.5})", {"2", "3"}, {"1", "4"});
  expect_schema(R"({"type":"integer","exclusiveMinimum":99})", {"100", "12345678"}, {"99", "0", "-100"});
  expect_schema(R"({"type":"number","minimum":0,"maximum":1})", {"0", "1", "0.5", "1.0", "0.999"},
                {"1.01", "-0.1", "2", "-0"});
  expect_schema(R"({"type":"number","exclusiveMinimum":0,"exclusiveMaximum":10})", {"0.01", "9.99", "5"},
                {"0", "0.0", "10", "10.0"});
  expect_schema(R"({"type":"number","minimum":-2,"maximum":-1})", {"-2", "-1", "-1.5", "-2.0"},
                {"-0.5", "-2.5", "1", "0"});
  // Every number of a small range, against arithmetic.
  for (int low = -25; low <= 25; low += 7) {
    for (int high = low; high <= 130; high += 31) {
      const auto constraint = compiled(Kind::kJsonSchema, R"({"type":"integer","minimum":)" + std::to_string(low) +
                                                              ",\"maximum\":" + std::to_string(high) + "}");
      for (int value = -140; value <= 140; ++value) {
        EXPECT_EQ(matches(*constraint, std::to_string(value)), low <= value && value <= high)
            << low << ".." << high << " " << value;
      }
    }
  }
}

TEST(Schema, Strings) {
  expect_schema(R"({"type":"string","minLength":2,"maxLength":3})", {R"("ab")", R"("é漢\n")"}, {R"("a")", R"("abcd")"});
  expect_schema(R"({"type":"string","pattern":"^[a-z]+-\\d$"})", {R"("ab-1")"}, {R"("ab-12")", R"("-1")"});
  expect_schema(R"({"type":"string","pattern":"b+"})", {R"("b")", R"("aabb c")"}, {R"("a")"});
  expect_schema(R"({"type":"string","pattern":"^[^a]$"})", {R"("\"")", R"("\\")", R"("b")", R"("\n")"},
                {R"("a")", "\"\"\"", "\"\n\""});
  expect_schema(R"({"type":"string","format":"date"})", {R"("2024-02-28")", R"("1999-12-31")"},
                {R"("2024-02-30")", R"("2024-13-01")"});
  expect_schema(R"({"type":"string","format":"date-time"})", {R"("2024-02-28T23:59:59.5Z")"}, {R"("2024-02-28")"});
  expect_schema(R"({"type":"string","format":"uuid"})", {R"("0188a2f4-0000-4000-8000-00000000000f")"}, {R"("0188")"});
  expect_schema(R"({"type":"string","format":"ipv4"})", {R"("127.0.0.1")"}, {R"("256.0.0.1")", R"("1.1.1")"});
}

TEST(Schema, Objects) {
  const char* person = R"({"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer"}},
    "required":["name"],"additionalProperties":false})";
  expect_schema(person, {R"({"name":"a"})", R"({"name":"a","age":3})", "{\n  \"name\": \"a\",\n  \"age\": 3\n}"},
                {"{}", R"({"age":3})", R"({"name":"a","x":1})", R"({"name":1})", R"({"name":"a",})"});
  const char* optional = R"({"type":"object","properties":{"a":{"const":1},"b":{"const":2},"c":{"const":3}}})";
  expect_schema(optional,
                {"{}", R"({"a":1})", R"({"b":2})", R"({"c":3})", R"({"a":1,"c":3})", R"({"b":2,"c":3})",
                 R"({"a":1,"b":2,"c":3})"},
                {R"({"b":2,"a":1})", R"({"a":1,"a":1})", R"({,"a":1})", R"({"d":1})"});
  const char* late =
      R"({"type":"object","properties":{"a":{"const":1},"b":{"const":2},"c":{"const":3},"d":{"const":4}},"required":["c"]})";
  expect_schema(late, {R"({"c":3})", R"({"a":1,"c":3})", R"({"b":2,"c":3,"d":4})", R"({"a":1,"b":2,"c":3})"},
                {"{}", R"({"a":1})", R"({"d":4})"});
  const char* more =
      R"({"type":"object","properties":{"id":{"type":"integer"},"idea":{"type":"integer"}},"required":["id"],
    "additionalProperties":{"type":"boolean"}})";
  expect_schema(
      more, {R"({"id":1})", R"({"id":1,"ide":true})", R"({"id":1,"idea":2,"ideas":false,"":true,"é":true})"},
      {R"({"id":1,"id":true})", R"({"id":1,"x":1})", R"({"id":1,"idea":true})", R"({"id":1,"i\u0064":true})"});
  expect_schema(R"({"type":"object","additionalProperties":{"type":"integer"}})", {"{}", R"({"a":1,"b":2})"},
                {R"({"a":"x"})"});
  expect_schema(R"({"type":"object"})", {"{}", R"({"a":[{}]})"}, {"[]"});
  expect_schema(R"({"type":"object","required":["x"]})", {R"({"x":[1]})"}, {"{}"});
  expect_schema(R"({"properties":{"q\"":{"type":"null"}},"required":["q\""]})", {R"({"q\"":null})"}, {"{}"});
}

TEST(Schema, Arrays) {
  expect_schema(R"({"type":"array","items":{"type":"integer"}})", {"[]", "[1]", "[1, 2,3]"}, {"[", "[1,]", "[\"a\"]"});
  expect_schema(R"({"type":"array","items":{"type":"integer"},"minItems":2,"maxItems":3})", {"[1,2]", "[1,2,3]"},
                {"[]", "[1]", "[1,2,3,4]"});
  expect_schema(R"({"type":"array","prefixItems":[{"type":"integer"},{"type":"string"}],"items":{"type":"null"}})",
                {R"([1,"a"])", R"([1,"a",null,null])"}, {R"(["a",1])", R"([1,"a",2])"});
  expect_schema(R"({"type":"array","prefixItems":[{"type":"integer"},{"type":"integer"}],"minItems":3,"maxItems":3})",
                {R"([1,2,"x"])"}, {"[1,2]"});
  expect_schema(R"({"type":"array","maxItems":0})", {"[]", "[ ]"}, {"[1]"});
}

TEST(Schema, CombinationsAndReferences) {
  expect_schema(R"({"anyOf":[{"type":"integer"},{"type":"string"}],"title":"t","default":null})", {"1", R"("a")"},
                {"null"});
  expect_schema(R"({"oneOf":[{"type":"integer"},{"type":"null"}]})", {"1", "null"}, {R"("a")"});
  expect_schema(
      R"({"oneOf":[{"type":"object","properties":{"k":{"const":"a"},"v":{"type":"integer"}},"required":["k","v"]},
    {"type":"object","properties":{"k":{"const":"b"}},"required":["k"]}]})",
      {R"({"k":"a","v":1})", R"({"k":"b"})"}, {R"({"k":"a"})"});
  expect_schema(R"({"allOf":[{"$ref":"#/$defs/n"}],"$defs":{"n":{"type":"null"}}})", {"null"}, {"1"});
  const char* tree = R"({"$defs":{"node":{"type":"object","properties":{"v":{"type":"integer"},
    "kids":{"type":"array","items":{"$ref":"#/$defs/node"}}},"required":["v","kids"],"additionalProperties":false}},"$ref":"#/$defs/node"})";
  expect_schema(tree,
                {R"({"v":1,"kids":[]})", R"({"v":1,"kids":[{"v":2,"kids":[]},{"v":3,"kids":[{"v":4,"kids":[]}]}]})"},
                {R"({"v":1})", R"({"v":1,"kids":[{"v":2}]})"});
  expect_schema(
      R"({"type":"object","properties":{"next":{"anyOf":[{"$ref":"#"},{"type":"null"}]}},"required":["next"]})",
      {R"({"next":null})", R"({"next":{"next":null}})"}, {"{}"});
}

TEST(Schema, RefusesByName) {
  const Code no = Code::kUnimplemented, bad = Code::kInvalidArgument;
  expect_refused(R"({"not":{}})", "not is not supported", no);
  expect_refused(R"({"if":{},"then":{}})", "if is not supported", no);
  expect_refused(R"({"type":"integer","multipleOf":3})", "multipleOf", no);
  expect_refused(R"({"type":"array","uniqueItems":true})", "uniqueItems", no);
  expect_refused(R"({"type":"array","contains":{}})", "contains", no);
  expect_refused(R"({"type":"array","items":[{}]})", "prefixItems", no);
  expect_refused(R"({"type":"object","patternProperties":{}})", "patternProperties", no);
  expect_refused(R"({"type":"object","minProperties":1})", "minProperties", no);
  expect_refused(R"({"type":"string","format":"iri"})", "format", no);
  expect_refused(R"({"type":"string","pattern":"a","minLength":1})", "only one of", no);
  expect_refused("{\"type\":\"string\",\"pattern\":\"(?=a)\"}", "look-ahead", no);
  expect_refused(R"({"type":"string","maxLength":1000000000})", "up to", no);
  expect_refused(R"({"type":"number","minimum":0.5})", "whole numbers", no);
  expect_refused(R"({"oneOf":[{"type":"integer"},{"type":"number"}]})", "oneOf", no);
  expect_refused(R"({"allOf":[{},{}]})", "allOf", no);
  expect_refused(R"({"anyOf":[{}],"type":"string"})", "type beside anyOf", no);
  expect_refused(R"({"enum":["a"],"minLength":3})", "minLength beside enum", no);
  expect_refused(R"({"$ref":"http://x/y"})", "within the schema", no);
  expect_refused(R"({"$ref":"#/$defs/x"})", "names nothing", bad);
  expect_refused(R"({"$ref":"#"})", "allows no text", bad);
  expect_refused(R"({"type":"strin"})", "type must be", bad);
  expect_refused(R"({"type":7})", "type must be", bad);
  expect_refused(R"({"type":"string","minLength":-1})", "minLength", bad);
  expect_refused(R"({"type":"string","minLength":3,"maxLength":2})", "allows no text", bad);
  expect_refused(R"({"properties":[]})", "properties must be", bad);
  expect_refused(R"({"required":"a"})", "required must be", bad);
  expect_refused(R"({"required":["a"],"additionalProperties":false})", "allows no text", bad);
  expect_refused("{", "not valid JSON", bad);
  expect_refused("[]", "must be an object", bad);
  expect_refused(R"({"enum":[]})", "enum", bad);
  std::string deep = R"({"type":"integer"})";
  for (int i = 0; i < 60; ++i) deep = R"({"type":"array","items":)" + deep + "}";
  expect_refused(deep, "nested too deeply", bad);
}

TEST(Schema, CombinationsDoNotMultiply) {
  // Alternatives within alternatives, as deep as is allowed, and as wide as a list of many constants.
  std::string nested = R"({"type":"null"})";
  for (int i = 0; i < 30; ++i) nested = R"({"anyOf":[)" + nested + R"(,{"const":)" + std::to_string(i) + "}]}";
  expect_schema(nested, {"null", "0", "29"}, {"30"});
  std::string many = R"({"enum":[)";
  for (int i = 0; i < 40'000; ++i) many += (i == 0 ? "\"v" : ",\"v") + std::to_string(i) + "\"";
  expect_schema(many + "]}", {R"("v0")", R"("v39999")"}, {R"("v40000")"});
  std::string optional = R"({"type":"object","properties":{)";
  for (int i = 0; i < 500; ++i) optional += (i == 0 ? "\"p" : ",\"p") + std::to_string(i) + R"(":{"type":"integer"})";
  expect_schema(optional + "}}", {"{}", R"({"p7":1,"p499":2})"}, {R"({"p499":1,"p7":2})"});
}

TEST(Schema, TooManyNamesOrValuesAreRefusedByName) {
  const auto names = [](int count) {
    std::string list = "[";
    for (int i = 0; i < count; ++i) list += (i == 0 ? "\"p" : ",\"p") + std::to_string(i) + "\"";
    return list + "]";
  };
  const auto refusal = [](const std::string& schema) {
    return bytes_compiler().compile({Kind::kJsonSchema, schema}).status().message();
  };
  EXPECT_NE(refusal(R"({"required":)" + names(5001) + "}").find("name more than 5000 members"), std::string::npos);
  EXPECT_NE(refusal(R"({"properties":{"p0":{},"q":{}},"required":)" + names(5000) + "}").find("more than 5000"),
            std::string::npos);
  EXPECT_EQ(refusal(R"({"properties":{"p0":{},"p1":{}},"required":)" + names(5000) + "}"), "");
  EXPECT_NE(refusal(R"({"enum":)" + names(50'001) + "}").find("more than 50000 values"), std::string::npos);
}

}  // namespace
}  // namespace foregate::grammar
