// The table of fields in server/openai/README.md says what the parser does with each of them.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "server/openai/api_request.h"
#include "server/openai/sampling_fields.h"
#include "tests/server/fake_engine.h"

namespace foregate {
namespace {

using Json = nlohmann::ordered_json;

struct Row {
  std::string field;
  std::string in;
  std::string fate;  // its first word
};

std::vector<Row> table() {
  std::ifstream file(std::string(FOREGATE_SOURCE_DIR) + "/server/openai/README.md");
  std::vector<Row> rows;
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("| `")) continue;
    Row row;
    row.field = line.substr(3, line.find('`', 3) - 3);
    const std::size_t in = line.find("| ", 3) + 2;
    row.in = line.substr(in, line.find(' ', in) - in);
    const std::size_t fate = line.find("| ", in) + 2;
    row.fate = line.substr(fate, line.find_first_of(" :;", fate) - fate);
    rows.push_back(std::move(row));
  }
  return rows;
}

struct FieldsTable : testing::Test {
  test::FakeParts parts;
  // Of both kinds of request, those that the row speaks of, with the field set so.
  std::vector<Result<ApiRequest>> read(const Row& row, const Json& value) {
    std::vector<Result<ApiRequest>> read;
    for (const bool chat : {true, false}) {
      if (row.in != "both" && (row.in == "chat") != chat) continue;
      Json body = chat ? Json::parse(R"({"messages": [{"role": "user", "content": "hi"}]})") : Json{{"prompt", "hi"}};
      body[row.field] = value;
      read.push_back(chat ? parse_chat_request(body.dump(), parts.backend->context)
                          : parse_completion_request(body.dump(), parts.backend->context));
    }
    return read;
  }
};

TEST_F(FieldsTable, HasRowsOfAllKindsAndEachFieldOnce) {
  std::map<std::string, int> fates;
  std::set<std::string> fields;
  for (const Row& row : table()) {
    ++fates[row.fate];
    EXPECT_TRUE(fields.insert(row.field).second) << row.field;
    EXPECT_TRUE(row.in == "both" || row.in == "chat" || row.in == "completion") << row.field;
  }
  EXPECT_GT(fates["honoured"], 50);
  EXPECT_GT(fates["refused"], 30);
  EXPECT_GT(fates["ignored"], 25);
  EXPECT_EQ(fates.size(), 3u);
  for (const UnsupportedField& field : unsupported_fields()) EXPECT_TRUE(fields.count(field.name)) << field.name;
}

TEST_F(FieldsTable, WhatIsHonouredIsLookedAt) {
  // Where a lone odd value may be of the right kind, or is the business of another field.
  const std::map<std::string, Json> odd = {{"echo", 7},
                                           {"stop", 7},
                                           {"prompt", true},
                                           {"seed", "x"},
                                           {"best_of", 2},
                                           {"stream_options", Json::object()},
                                           {"priority", 1},
                                           {"thinking_token_budget", 1},
                                           {"documents", true},
                                           {"top_logprobs", 1},
                                           {"chat_template_kwargs", 7},
                                           {"guided_json", 7},
                                           {"json_schema", 7}};
  for (const Row& row : table()) {
    if (row.fate != "honoured") continue;
    const auto found = odd.find(row.field);
    for (const auto& parsed : read(row, found == odd.end() ? Json{{"strange", 7}} : found->second)) {
      EXPECT_FALSE(parsed.ok()) << row.field;
      if (parsed.ok()) continue;
      EXPECT_EQ(parsed.status().field().substr(0, row.field.size()), row.field) << parsed.status().message();
    }
  }
}

TEST_F(FieldsTable, WhatIsRefusedIsNamed) {
  std::map<std::string, std::string> neutral;
  for (const UnsupportedField& field : unsupported_fields()) neutral[field.name] = field.neutral;
  for (const Row& row : table()) {
    if (row.fate != "refused") continue;
    for (const auto& parsed : read(row, "something")) {
      ASSERT_FALSE(parsed.ok()) << row.field;
      EXPECT_EQ(parsed.status().code(), Code::kUnimplemented);
      EXPECT_EQ(parsed.status().field(), row.field);
    }
    ASSERT_TRUE(neutral.count(row.field)) << row.field;
    for (const Json& value : Json::parse(neutral[row.field])) {
      for (const auto& parsed : read(row, value)) EXPECT_TRUE(parsed.ok()) << row.field << value;
    }
  }
}

TEST_F(FieldsTable, WhatIsIgnoredMayBeAnything) {
  for (const Row& row : table()) {
    if (row.fate != "ignored") continue;
    for (const Json& value : {Json("x"), Json(7), Json(true), Json{{"a", 1}}, Json::array({1})}) {
      for (const auto& parsed : read(row, value)) EXPECT_TRUE(parsed.ok()) << row.field << value;
    }
  }
}

}  // namespace
}  // namespace foregate
