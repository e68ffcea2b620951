// /openapi.json: every route and nothing else, references that lead somewhere, and fields that the server really reads.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "server/http/openapi.h"
#include "server/http/router.h"
#include "tests/server/service_fixture.h"

namespace foregate {
namespace {

using namespace test;

void collect_references(const Json& json, std::set<std::string>& found) {
  if (json.is_object() && json.contains("$ref")) found.insert(json["$ref"].get<std::string>());
  if (json.is_structured()) {
    for (const Json& inner : json) collect_references(inner, found);
  }
}

bool fits(const Json& schema, const Json& value) {
  if (schema.contains("enum"))
    return std::find(schema["enum"].begin(), schema["enum"].end(), value) != schema["enum"].end();
  if (schema.contains("const")) return schema["const"] == value;
  if (schema.contains("anyOf")) {
    return std::any_of(schema["anyOf"].begin(), schema["anyOf"].end(),
                       [&](const Json& one) { return fits(one, value); });
  }
  if (schema.contains("$ref") || !schema.contains("type")) return true;
  const Json types = schema["type"].is_array() ? schema["type"] : Json::array({schema["type"]});
  const std::string own = value.is_number() ? "number" : value.type_name();
  return std::find(types.begin(), types.end(), own) != types.end();
}

struct OpenapiTest : ServiceTest {
  Json document() {
    const std::string answer = ask(get("/openapi.json"))->received;
    EXPECT_EQ(answer.substr(9, 3), "200");
    return body_of(answer);
  }
  // What the server says to a body.
  std::string said(const std::string& path, const Json& body) {
    const auto connection = ask(post(path, body.dump()));
    EXPECT_TRUE(loop.turn_until([&] { return !connection->received.empty(); })) << body.dump();
    connection->hang_up();
    loop.turn();
    return connection->received;
  }
};

TEST_F(OpenapiTest, DescribesEveryRouteThatIsServedAndNoOther) {
  struct NoFiles : FileHandler {
    void handle(std::shared_ptr<Exchange>, const RouteMatch&, const Owner&) override {}
  } none;
  start();
  for (const bool files : {false, true}) {
    if (files) service->set_files(&none);
    std::set<std::string> described, served;
    const Json paths = document()["paths"];
    for (const auto& [path, methods] : paths.items()) {
      for (const auto& [method, operation] : methods.items()) described.insert(method + " " + path);
    }
    for (const Route& route : routes()) {
      if (is_file_route(route.endpoint) && !files) continue;
      std::string method(route.method);
      for (char& c : method) c = static_cast<char>(std::tolower(c));
      served.insert(method + " " + std::string(route.path));
    }
    EXPECT_EQ(described, served);
  }
}

TEST_F(OpenapiTest, ReferencesLeadSomewhereAndOperationsHaveNamesOfTheirOwn) {
  start();
  const Json whole = document();
  std::set<std::string> references;
  collect_references(whole, references);
  EXPECT_GT(references.size(), 20u);
  for (const std::string& reference : references) {
    EXPECT_TRUE(whole.contains(Json::json_pointer(reference.substr(1)))) << reference;
  }
  EXPECT_EQ(whole.dump().find("\"$m"), std::string::npos) << "every limit has its number";
  EXPECT_EQ(whole.dump().find("\"include\""), std::string::npos);
  std::set<std::string> names;
  std::size_t operations = 0;
  for (const Json& methods : whole["paths"]) {
    for (const Json& operation : methods) {
      names.insert(operation["operationId"].get<std::string>());
      ++operations;
    }
  }
  EXPECT_EQ(names.size(), operations);
  for (const auto& [name, schema] : whole["components"]["schemas"].items()) {
    if (!schema.contains("required") || !schema.contains("properties")) continue;
    for (const Json& needed : schema["required"])
      EXPECT_TRUE(schema["properties"].contains(needed.get<std::string>())) << name;
  }
}

TEST_F(OpenapiTest, SaysWhichKeysAreNeeded) {
  const auto needs = [](const Json& paths, const char* path) { return !paths[path]["get"]["security"].empty(); };
  OpenapiFacts facts;
  Json paths = Json::parse(openapi_text(facts))["paths"];
  EXPECT_FALSE(needs(paths, "/v1/models"));
  EXPECT_FALSE(needs(paths, "/v1/stats"));
  facts.admin_key = true;
  paths = Json::parse(openapi_text(facts))["paths"];
  EXPECT_FALSE(needs(paths, "/v1/models"));
  EXPECT_TRUE(needs(paths, "/v1/stats"));
  facts.keys = true;
  paths = Json::parse(openapi_text(facts))["paths"];
  EXPECT_TRUE(needs(paths, "/v1/models"));
  EXPECT_FALSE(needs(paths, "/health"));
  EXPECT_TRUE(paths["/v1/models"]["get"]["responses"].contains("401"));
}

TEST_F(OpenapiTest, IsThereWhileTheModelLoads) {
  start(false);
  const Json schema = document()["components"]["schemas"]["ChatRequest"]["properties"];
  EXPECT_FALSE(schema["n"].contains("maximum")) << "not known yet";
  EXPECT_TRUE(schema["temperature"].contains("maximum"));
}

// A described field that nobody reads, or a type that is not the one taken, ends here.
TEST_F(OpenapiTest, EveryDescribedFieldIsReadAsDescribed) {
  start();
  const Json whole = document();
  const Json text = Json::array({{{"role", "user"}, {"content", "hi"}}});
  const std::pair<const char*, Json> bases[] = {{"/v1/chat/completions", {{"messages", text}}},
                                                {"/v1/completions", {{"prompt", "x"}}},
                                                {"/v1/responses", {{"input", "x"}}},
                                                {"/v1/messages", {{"messages", text}, {"max_tokens", 8}}},
                                                {"/v1/messages/count_tokens", {{"messages", text}}},
                                                {"/apply-template", {{"messages", text}}},
                                                {"/detokenize", {{"tokens", {1}}}}};
  int tried = 0;
  for (const auto& [path, base] : bases) {
    const std::string name =
        whole["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"];
    for (const auto& [field, schema] : whole.at(Json::json_pointer(name.substr(1)))["properties"].items()) {
      for (const Json& wrong :
           {Json(1.5), Json("wrong"), Json(true), Json::object({{"wrong", 1}}), Json::array({1.5})}) {
        if (fits(schema, wrong)) continue;
        Json body = base;
        body[field] = wrong;
        const std::string answer = said(path, body);
        const bool found = answer.substr(9, 3) == "404" && field == "model";
        EXPECT_TRUE(answer.substr(9, 3) == "400" || found) << path << " " << body.dump() << "\n" << answer;
        EXPECT_NE(answer.find(field), std::string::npos) << path << " " << body.dump() << "\n" << answer;
        ++tried;
      }
    }
  }
  EXPECT_GT(tried, 500);
}

}  // namespace
}  // namespace foregate
