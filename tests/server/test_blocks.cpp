// /v1/responses and /v1/messages: requests become chats, replies become blocks and events that add up to the body.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "server/anthropic/messages_reply.h"
#include "server/anthropic/messages_request.h"
#include "server/openai/responses_reply.h"
#include "server/openai/responses_request.h"
#include "tests/server/fake_engine.h"

namespace foregate {
namespace {

using Json = nlohmann::ordered_json;
using Kind = ReplyPiece::Kind;

struct BlocksTest : testing::Test {
  test::FakeParts parts;
  ApiContext& context = parts.backend->context;
  ResponsesEcho echo;

  Json rendered() const { return Json::parse(parts.chat_template->last); }
  Result<ApiRequest> responses(const std::string& body) { return parse_responses_request(body, context, echo); }
  Result<ApiRequest> messages(const std::string& members) {
    return parse_messages_request(R"({"max_tokens": 5, )" + members + "}", context);
  }
};

const std::vector<ReplyPiece> kPieces = {
    {Kind::kReasoning, "Hm"},   {Kind::kReasoning, "."}, {Kind::kContent, "I "},
    {Kind::kContent, "ask."},   {Kind::kCall, "f"},      {Kind::kArguments, "{\"a\""},
    {Kind::kArguments, ": 1}"}, {Kind::kCall, "g"},      {Kind::kArguments, "{}"}};

std::vector<NamedEvent> stream_of(BlockWriter& writer, const SampleEnd& end) {
  std::vector<NamedEvent> events = writer.begin({});
  for (const ReplyPiece& piece : kPieces) {
    for (NamedEvent& event : writer.add({piece})) events.push_back(std::move(event));
  }
  for (NamedEvent& event : writer.finish(end, {10, 7, 4, 2})) events.push_back(std::move(event));
  return events;
}

TEST_F(BlocksTest, ResponsesStreamEndsWithTheWholeResponse) {
  ASSERT_TRUE(responses(R"({"input": "hi", "metadata": {"k": "v"}})").ok());
  const auto writer = responses_writer("resp_1", "demo", 5, ToolFormat::kHermes, echo);
  const std::vector<NamedEvent> events = stream_of(*writer, {});
  const Json last = Json::parse(events.back().data);
  EXPECT_EQ(events.back().name, "response.completed");
  EXPECT_EQ(last["response"].dump(), Json::parse(writer->body({}, {10, 7, 4, 2})).dump());
  const Json& output = last["response"]["output"];
  ASSERT_EQ(output.size(), 4u);
  EXPECT_EQ(output[0]["content"][0]["text"], "Hm.");
  EXPECT_EQ(output[1]["content"][0]["text"], "I ask.");
  EXPECT_EQ(output[2]["name"], "f");
  EXPECT_EQ(output[2]["arguments"], "{\"a\": 1}");
  EXPECT_NE(output[2]["call_id"], output[3]["call_id"]);
  EXPECT_EQ(last["response"]["metadata"]["k"], "v");
  EXPECT_EQ(last["response"]["usage"]["output_tokens_details"]["reasoning_tokens"], 2);
  std::string text, arguments;
  std::int64_t number = 0;
  for (const NamedEvent& event : events) {
    const Json json = Json::parse(event.data);
    EXPECT_EQ(json["type"], event.name);
    EXPECT_EQ(json["sequence_number"], number++);
    if (event.name == "response.output_text.delta") text += json["delta"].get<std::string>();
    if (event.name == "response.function_call_arguments.delta" && json["output_index"] == 2)
      arguments += json["delta"].get<std::string>();
    if (event.name == "response.output_item.done")
      EXPECT_EQ(json["item"].dump(), output[json["output_index"].get<std::size_t>()].dump());
  }
  EXPECT_EQ(text, "I ask.");
  EXPECT_EQ(arguments, "{\"a\": 1}");
  const Json failed = Json::parse(writer->failure(internal_error("x")).data);
  EXPECT_EQ(failed["response"]["status"], "failed");
}

TEST_F(BlocksTest, ResponsesItemsBecomeMessages) {
  const auto parsed = responses(R"({"instructions": "short", "max_output_tokens": 7, "stream": true, "input": [
      {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
      {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "think"}]},
      {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I ask."}]},
      {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{\"a\": 1}"},
      {"type": "function_call_output", "call_id": "c1", "output": "done"}],
      "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}]})");
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  EXPECT_EQ(parsed->sampling.max_tokens, 7);
  EXPECT_TRUE(parsed->stream);
  const Json given = rendered();
  ASSERT_EQ(given["messages"].size(), 4u) << given.dump();
  EXPECT_EQ(given["messages"][0]["role"], "system");
  EXPECT_EQ(given["messages"][1]["content"], "hi");
  EXPECT_EQ(given["messages"][2]["content"], "I ask.");
  EXPECT_EQ(given["messages"][2]["reasoning_content"], "think");
  EXPECT_EQ(given["messages"][2]["tool_calls"][0]["function"]["arguments"]["a"], 1);
  EXPECT_EQ(given["messages"][3]["tool_call_id"], "c1");
  EXPECT_EQ(given["tools"][0]["function"]["name"], "f");
}

TEST_F(BlocksTest, LongEchoesAreLeftOut) {
  ASSERT_TRUE(
      responses(R"({"input": "hi", "temperature": 0.5, "instructions": ")" + std::string(100, 'a') + "\"}").ok());
  EXPECT_NE(echo.json.find("aaaa"), std::string::npos);
  context.limits.max_model_len = 100000;
  ASSERT_TRUE(
      responses(R"({"input": "hi", "temperature": 0.5, "instructions": ")" + std::string(20000, 'a') + "\"}").ok());
  EXPECT_LT(echo.json.size(), 1000u);
  EXPECT_EQ(Json::parse(echo.json)["temperature"], 0.5);
}

TEST_F(BlocksTest, MessagesStreamAddsUpToTheBody) {
  const auto writer = messages_writer("msg_1", "demo", ToolFormat::kHermes);
  const std::vector<NamedEvent> events = stream_of(*writer, {});
  const Json body = Json::parse(writer->body({}, {10, 7, 4, 2}));
  ASSERT_EQ(body["content"].size(), 4u);
  EXPECT_EQ(body["content"][0]["thinking"], "Hm.");
  EXPECT_EQ(body["content"][1]["text"], "I ask.");
  EXPECT_EQ(body["content"][2]["input"]["a"], 1);
  EXPECT_EQ(body["stop_reason"], "tool_use");
  EXPECT_EQ(body["usage"]["input_tokens"], 6);
  EXPECT_EQ(body["usage"]["cache_read_input_tokens"], 4);
  std::vector<std::string> texts(4);
  for (const NamedEvent& event : events) {
    const Json json = Json::parse(event.data);
    EXPECT_EQ(json["type"], event.name);
    if (event.name != "content_block_delta") continue;
    for (const char* member : {"text", "thinking", "partial_json"}) {
      texts[json["index"].get<std::size_t>()] += json["delta"].value(member, "");
    }
  }
  EXPECT_EQ(texts, (std::vector<std::string>{"Hm.", "I ask.", "{\"a\": 1}", "{}"}));
  EXPECT_EQ(events.front().name, "message_start");
  EXPECT_EQ(events.back().name, "message_stop");
  const auto cut = messages_writer("msg_2", "demo", ToolFormat::kHermes);
  cut->add({{Kind::kCall, "f"}, {Kind::kArguments, "{\"a\""}});
  SampleEnd end;
  end.reason = FinishReason::kLength;
  const Json half = Json::parse(cut->body(end, {}));
  EXPECT_EQ(half["stop_reason"], "max_tokens");
  EXPECT_EQ(half["content"][0]["input"]["_text"], "{\"a\"");
}

TEST_F(BlocksTest, MessagesBecomeAChat) {
  const auto parsed = messages(
      R"("system": [{"type": "text", "text": "short"}], "stop_sequences": ["x"], "thinking": {"type": "disabled"},
      "messages": [{"role": "user", "content": "hi"},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "t", "signature": ""}, {"type": "text", "text": "I ask."},
                                          {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "done"}]},
                                     {"type": "text", "text": "So?"}]}],
      "tools": [{"name": "f", "input_schema": {"type": "object"}}], "tool_choice": {"type": "auto", "disable_parallel_tool_use": true})");
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  EXPECT_EQ(parsed->stop, std::vector<std::string>{"x"});
  const Json given = rendered();
  ASSERT_EQ(given["messages"].size(), 5u) << given.dump();
  EXPECT_EQ(given["messages"][2]["tool_calls"][0]["function"]["arguments"]["a"], 1);
  EXPECT_EQ(given["messages"][2]["reasoning_content"], "t");
  EXPECT_EQ(given["messages"][3]["content"], "done");
  EXPECT_EQ(given["messages"][4]["content"], "So?");
  EXPECT_EQ(given["enable_thinking"], false);
}

TEST_F(BlocksTest, FaultsBearTheNamesOfTheirApi) {
  const auto field = [](const Result<ApiRequest>& result) { return result.ok() ? "none" : result.status().field(); };
  EXPECT_EQ(field(responses(R"({})")), "input");
  EXPECT_EQ(field(responses(R"({"input": []})")), "input");
  EXPECT_EQ(field(responses(R"({"input": "a", "max_output_tokens": 0})")), "max_output_tokens");
  EXPECT_EQ(field(responses(R"({"input": "a", "text": {"format": {"type": "x"}}})")), "text.format.type");
  EXPECT_EQ(field(responses(R"({"input": "a", "previous_response_id": "r"})")), "previous_response_id");
  EXPECT_EQ(
      field(responses(R"({"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": "x"}]})")),
      "input[0].arguments");
  EXPECT_EQ(field(parse_messages_request(R"({"messages": [{"role": "user", "content": "a"}]})", context)),
            "max_tokens");
  EXPECT_EQ(field(messages(R"("messages": [])")), "messages");
  EXPECT_EQ(field(messages(R"("messages": [{"role": "system", "content": "a"}])")), "messages[0].role");
  EXPECT_EQ(field(messages(R"("messages": [{"role": "user", "content": "a"}], "stop_sequences": [1])")),
            "stop_sequences");
  EXPECT_EQ(field(messages(R"("messages": [{"role": "user", "content": "a"}], "tool_choice": {"type": "x"})")),
            "tool_choice.type");
  EXPECT_EQ(Json::parse(messages_error(not_found("x")))["error"]["type"], "not_found_error");
}

// What counts tokens reads tools as what answers does.
TEST_F(BlocksTest, WrongToolsAreRefusedAlsoWhereTokensAreCounted) {
  const std::string turn = R"("messages": [{"role": "user", "content": "a"}], "tools": )";
  const std::pair<const char*, const char*> wrong[] = {
      {"3", "tools"},
      {"[3]", "tools[0]"},
      {R"([{"name": "f"}])", "tools[0].input_schema"},
      {R"([{"name": "f", "input_schema": {}, "type": 0}])", "tools[0].type"},
      {R"([{"name": "f", "input_schema": {}, "type": ["custom"]}])", "tools[0].type"},
      {R"([{"name": "f", "input_schema": {}, "type": "bash"}])", "tools[0].type"}};
  for (const auto& [tools, where] : wrong) {
    const auto asked = messages(turn + tools);
    const auto counted = count_tokens_body("{" + turn + tools + "}", context);
    ASSERT_FALSE(asked.ok()) << tools;
    ASSERT_FALSE(counted.ok()) << tools;
    EXPECT_EQ(asked.status().field(), where);
    EXPECT_EQ(counted.status().field(), where);
  }
}

}  // namespace
}  // namespace foregate
