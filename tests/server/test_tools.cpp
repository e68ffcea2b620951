// Tools and reasoning in chats: what requests ask for, what they are held to, and how replies and streams show it.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "server/generate/frontend.h"
#include "server/http/http_server.h"
#include "server/http/service.h"
#include "server/openai/api_request.h"
#include "tests/server/fake_engine.h"
#include "tests/server/memory_net.h"

namespace foregate {
namespace {

using Json = nlohmann::ordered_json;
using test::MemoryConnection;
using test::MemoryLoop;

std::string post(const std::string& path, const std::string& body) {
  return "POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

Json body_of(const std::string& answer) {
  return Json::parse(answer.substr(answer.find("\r\n\r\n") + 4));
}

// Of a stream of server-sent events, without the last mark.
std::vector<Json> events_of(const std::string& stream) {
  std::vector<Json> events;
  for (std::size_t at = stream.find("data: "); at != std::string::npos; at = stream.find("data: ", at + 1)) {
    const std::string text = stream.substr(at + 6, stream.find("\n\n", at) - at - 6);
    if (text != "[DONE]") events.push_back(Json::parse(text));
  }
  return events;
}

const std::string kTools =
    R"("tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object",
       "properties": {"a": {"type": "integer"}}, "required": ["a"]}}}, {"type": "function", "function": {"name": "g"}}])";

std::string chat(const std::string& members) {
  return R"({"messages": [{"role": "user", "content": "hi"}], )" + members + "}";
}

bool accepts(const TokenConstraint& constraint, const std::string& text) {
  auto state = constraint.start();
  for (const char c : text) {
    if (!state->accept(static_cast<unsigned char>(c)).ok()) return false;
  }
  auto mask = state->allowed();
  return mask.ok() && ((*mask)[test::kEos / 64] >> (test::kEos % 64) & 1) != 0;
}

struct ToolsTest : testing::Test {
  MemoryLoop loop;
  Metrics metrics;
  test::FakeParts parts;
  ApiContext& context = parts.backend->context;
  std::unique_ptr<Frontend> frontend;
  std::unique_ptr<Service> service;
  std::unique_ptr<HttpServer> http;

  void start() {
    frontend = std::make_unique<Frontend>(loop, FrontendOptions{});
    service = std::make_unique<Service>(loop, *frontend, ServiceOptions{}, metrics);
    http = std::make_unique<HttpServer>(loop, HttpOptions{}, service->callbacks(), metrics);
    frontend->set_backend(parts.backend);
  }
  void TearDown() override {
    http.reset();
    parts.engine->live.clear();
    service.reset();
    frontend.reset();
    loop.turn();
  }
  // The whole answer to a request whose reply is `text`, told in pieces of `piece` bytes.
  std::string answer(const std::string& body, const std::string& text, std::size_t piece,
                     FinishReason end = FinishReason::kStop) {
    auto connection = std::make_shared<MemoryConnection>(loop);
    http->accept(connection);
    const std::uint64_t before = parts.engine->last_id();
    connection->send(post("/v1/chat/completions", body));
    EXPECT_TRUE(loop.turn_until([&] { return parts.engine->last_id() != before; })) << connection->received;
    loop.turn();
    const auto id = parts.engine->last_id();
    for (std::size_t at = 0; at < text.size(); at += piece) {
      parts.engine->say(id, 0, text.substr(at, piece));
      loop.turn();
    }
    parts.engine->finish(id, 0, end, end == FinishReason::kStop ? test::kEos : -1);
    loop.turn();
    return connection->received;
  }
  Status refused(const std::string& members) {
    const auto parsed = parse_chat_request(chat(members), context);
    EXPECT_FALSE(parsed.ok()) << members;
    return parsed.ok() ? Status() : parsed.status();
  }
};

const std::string kReply =
    "<think>\nHm.\n</think>\n\nI ask.\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>\n"
    "<tool_call>\n{\"name\": \"g\", \"arguments\": {}}\n</tool_call>";

TEST_F(ToolsTest, ReplyIsReadIntoMessage) {
  context.tool_format = ToolFormat::kHermes;
  context.reasoning_format = ReasoningFormat::kThink;
  start();
  const Json body = body_of(answer(chat(kTools), kReply, 1000));
  const Json& choice = body["choices"][0];
  EXPECT_EQ(choice["finish_reason"], "tool_calls");
  EXPECT_EQ(choice["message"]["content"], "I ask.");
  EXPECT_EQ(choice["message"]["reasoning_content"], "Hm.");
  EXPECT_EQ(choice["message"]["reasoning"], "Hm.");
  const Json& calls = choice["message"]["tool_calls"];
  ASSERT_EQ(calls.size(), 2u);
  EXPECT_EQ(calls[0]["type"], "function");
  EXPECT_EQ(calls[0]["function"]["name"], "f");
  EXPECT_EQ(calls[0]["function"]["arguments"], "{\"a\": 1}");
  EXPECT_NE(calls[0]["id"], calls[1]["id"]);
  EXPECT_NE(metrics.prometheus_text().find("foregate_tool_calls_total 2"), std::string::npos);
  EXPECT_NE(metrics.prometheus_text().find("foregate_reasoning_bytes_total 3"), std::string::npos);
  const Json first =
      body_of(answer(chat(kTools + R"(, "parallel_tool_calls": false, "include_reasoning": false)"), kReply, 1000));
  EXPECT_EQ(first["choices"][0]["message"]["tool_calls"].size(), 1u);
  EXPECT_FALSE(first["choices"][0]["message"].contains("reasoning_content"));
  const Json cut = body_of(answer(chat(kTools), kReply.substr(0, kReply.size() - 20), 1000, FinishReason::kLength));
  EXPECT_EQ(cut["choices"][0]["finish_reason"], "length");
}

TEST_F(ToolsTest, NothingIsReadWhereNothingWasAskedOrAllIsOff) {
  start();
  for (const std::string& members : {kTools, kTools + R"(, "tool_choice": "none")", std::string(R"("n": 1)")}) {
    const Json off = body_of(answer(chat(members), kReply, 7));
    EXPECT_EQ(off["choices"][0]["message"]["content"], kReply);
    EXPECT_EQ(off["choices"][0]["finish_reason"], "stop");
    EXPECT_FALSE(off["choices"][0]["message"].contains("tool_calls"));
  }
  context.tool_format = ToolFormat::kHermes;
  const Json none = body_of(answer(chat(kTools + R"(, "tool_choice": "none")"), kReply, 7));
  EXPECT_EQ(none["choices"][0]["message"]["content"], kReply);
}

// A stream, however it is cut, adds up to the message: each call has its id, type and name once.
TEST_F(ToolsTest, StreamAddsUp) {
  context.tool_format = ToolFormat::kHermes;
  context.reasoning_format = ReasoningFormat::kThink;
  start();
  for (const std::size_t piece : {1u, 3u, 16u, 1000u}) {
    const std::string stream =
        answer(chat(kTools + R"(, "stream": true, "logprobs": true, "return_token_ids": true)"), kReply, piece);
    std::string content, reasoning, finish;
    std::vector<std::string> names, ids, arguments;
    std::size_t tokens = 0;
    for (const Json& event : events_of(stream)) {
      const Json& choice = event["choices"][0];
      if (!choice["finish_reason"].is_null()) finish = choice["finish_reason"];
      if (choice.contains("token_ids")) tokens += choice["token_ids"].size();
      const Json& delta = choice["delta"];
      if (delta.contains("content") && !delta["content"].is_null()) content += delta["content"].get<std::string>();
      if (delta.contains("reasoning_content")) reasoning += delta["reasoning_content"].get<std::string>();
      for (const Json& call : delta.value("tool_calls", Json::array())) {
        const auto index = call["index"].get<std::size_t>();
        if (call.contains("id")) {
          ASSERT_EQ(index, ids.size());
          EXPECT_EQ(call["type"], "function");
          ids.push_back(call["id"]);
          names.push_back(call["function"]["name"]);
          arguments.emplace_back();
        } else {
          EXPECT_FALSE(call["function"].contains("name"));
        }
        ASSERT_EQ(index + 1, ids.size());
        arguments[index] += call["function"]["arguments"].get<std::string>();
      }
    }
    EXPECT_EQ(content, "I ask.") << piece;
    EXPECT_EQ(reasoning, "Hm.");
    EXPECT_EQ(finish, "tool_calls");
    EXPECT_EQ(names, (std::vector<std::string>{"f", "g"}));
    EXPECT_EQ(arguments, (std::vector<std::string>{"{\"a\": 1}", "{}"}));
    EXPECT_EQ(tokens, kReply.size());
  }
}

TEST_F(ToolsTest, DemandedCallsAreHeldToTheirSchemas) {
  const std::string call = R"({"name": "f", "arguments": {"a": 1}})", other = R"({"name": "g", "arguments": {}})";
  auto parsed = parse_chat_request(chat(kTools + R"(, "tool_choice": "required")"), context);
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  EXPECT_TRUE(accepts(*parsed->constraint, "[" + call + ", " + other + "]"));
  EXPECT_FALSE(accepts(*parsed->constraint, call));
  EXPECT_EQ(parsed->reply->tools, ToolFormat::kJson);
  context.tool_format = ToolFormat::kHermes;
  context.reasoning_format = ReasoningFormat::kThink;
  const char* named = R"(, "tool_choice": {"type": "function", "function": {"name": "f"}})";
  parsed = parse_chat_request(chat(kTools + named), context);
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  const std::string tagged = "<tool_call>\n" + call + "\n</tool_call>";
  EXPECT_TRUE(accepts(*parsed->constraint, tagged));
  EXPECT_TRUE(accepts(*parsed->constraint, "<think>why</think>\n\n" + tagged));
  EXPECT_FALSE(accepts(*parsed->constraint, "<tool_call>\n" + other + "\n</tool_call>"));
  EXPECT_FALSE(accepts(*parsed->constraint, tagged + "\n" + tagged));
  const char* allowed = R"(, "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required",
                             "tools": [{"type": "function", "function": {"name": "g"}}]}})";
  parsed = parse_chat_request(chat(kTools + allowed), context);
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  EXPECT_FALSE(accepts(*parsed->constraint, tagged));
  parsed = parse_chat_request(chat(R"("response_format": {"type": "json_object"})"), context);
  EXPECT_TRUE(accepts(*parsed->constraint, "<think>why</think>{}"));
  EXPECT_TRUE(accepts(*parsed->constraint, "{}"));
}

// Beside a form that is asked for, the model may still call by itself: the reply is calls or the form, never both.
TEST_F(ToolsTest, CallsBesideAForm) {
  const std::string form = R"(, "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "object",
      "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": false}}})";
  const std::string call = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>";
  context.tool_format = ToolFormat::kHermes;
  context.reasoning_format = ReasoningFormat::kThink;
  auto parsed = parse_chat_request(chat(kTools + form), context);
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  for (const std::string& before : {std::string(), std::string("<think>why</think>\n\n")}) {
    EXPECT_TRUE(accepts(*parsed->constraint, before + "{\"n\": 5}"));
    EXPECT_TRUE(accepts(*parsed->constraint, before + call));
    EXPECT_TRUE(accepts(*parsed->constraint, before + call + "\n" + call));
  }
  for (const std::string& text :
       {std::string("hello"), std::string("{\"n\": \"x\"}"), "{\"n\": 5}" + call, call + "{\"n\": 5}",
        std::string("<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": \"x\"}}\n</tool_call>"),
        std::string("<tool_call>\n{\"name\": \"x\", \"arguments\": {}}\n</tool_call>")}) {
    EXPECT_FALSE(accepts(*parsed->constraint, text)) << text;
  }
  const auto only_form = [&](const std::string& members) {
    auto made = parse_chat_request(chat(kTools + form + members), context);
    return made.ok() && accepts(*made->constraint, "{\"n\": 5}") && !accepts(*made->constraint, call);
  };
  EXPECT_FALSE(only_form(""));
  EXPECT_TRUE(only_form(R"(, "tool_choice": "none")"));
  parsed = parse_chat_request(chat(kTools + form + R"(, "parallel_tool_calls": false)"), context);
  EXPECT_TRUE(accepts(*parsed->constraint, call));
  EXPECT_FALSE(accepts(*parsed->constraint, call + "\n" + call));
  context.tool_format = ToolFormat::kMistral;  // its marks are no text: the form alone
  EXPECT_TRUE(only_form(""));
  context.tool_format = ToolFormat::kJson;
  context.reasoning_format = ReasoningFormat::kNone;
  parsed = parse_chat_request(chat(kTools + form), context);
  EXPECT_TRUE(accepts(*parsed->constraint, R"({"name": "f", "parameters": {"a": 1}})"));
  EXPECT_TRUE(
      accepts(*parsed->constraint, R"({"name": "f", "parameters": {"a": 1}}; {"name": "g", "parameters": {}})"));
  EXPECT_TRUE(accepts(*parsed->constraint, R"({"n": 1})"));
  EXPECT_FALSE(accepts(*parsed->constraint, R"({"name": "f", "parameters": {"a": "x"}})"));
}

// The reply that the form allows is read as calls or as content.
TEST_F(ToolsTest, RepliesBesideAFormAreRead) {
  context.tool_format = ToolFormat::kHermes;
  start();
  const std::string asked = chat(kTools + R"(, "response_format": {"type": "json_object"})");
  const std::string call = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>";
  for (const std::size_t piece : {1u, 1000u}) {
    const Json called = body_of(answer(asked, call, piece))["choices"][0];
    EXPECT_EQ(called["finish_reason"], "tool_calls");
    ASSERT_EQ(called["message"]["tool_calls"].size(), 1u);
    EXPECT_EQ(called["message"]["tool_calls"][0]["function"]["arguments"], "{\"a\": 1}");
    const Json said = body_of(answer(asked, R"({"k": [1]})", piece))["choices"][0];
    EXPECT_EQ(said["finish_reason"], "stop");
    EXPECT_EQ(said["message"]["content"], R"({"k": [1]})");
    EXPECT_FALSE(said["message"].contains("tool_calls"));
  }
}

TEST_F(ToolsTest, FaultsNameTheirField) {
  EXPECT_EQ(refused(R"("tool_choice": "required")").field(), "tool_choice");
  EXPECT_EQ(refused(kTools + R"(, "tool_choice": "any")").field(), "tool_choice");
  EXPECT_EQ(refused(kTools + R"(, "tool_choice": {"type": "function", "function": {"name": "x"}})").field(),
            "tool_choice.function.name");
  EXPECT_EQ(refused(kTools + R"(, "tool_choice": {"type": "allowed_tools", "allowed_tools": {"tools": []}})").field(),
            "tool_choice.allowed_tools.tools");
  EXPECT_EQ(refused(kTools + R"(, "parallel_tool_calls": 1)").field(), "parallel_tool_calls");
  EXPECT_EQ(refused(R"("include_reasoning": "no")").field(), "include_reasoning");
  const auto tool = [](const char* function) {
    return R"("tools": [{"type": "function", "function": )" + std::string(function) + "}]";
  };
  EXPECT_EQ(refused(tool(R"({"name": ""})")).field(), "tools[0].function.name");
  EXPECT_EQ(refused(tool(R"({"name": "f", "parameters": 3})")).field(), "tools[0].function.parameters");
  EXPECT_EQ(refused(tool(R"({"name": "f", "parameters": {"not": {}}})") + R"(, "tool_choice": "required")").field(),
            "tools");
  EXPECT_EQ(
      refused(
          R"("tools": [{"type": "function", "function": {"name": "f"}}, {"type": "function", "function": {"name": "f"}}])")
          .field(),
      "tools[1].function.name");
  context.tool_format = ToolFormat::kHermes;
  const std::string form = R"(, "response_format": {"type": "json_object"})";
  EXPECT_EQ(refused(tool(R"({"name": "f", "parameters": {"not": {}}})") + form).field(), "tools");
  EXPECT_EQ(refused(kTools + R"(, "response_format": {"type": "json_schema", "json_schema": {"schema": {"not": {}}}})")
                .field(),
            "response_format.json_schema.schema");
  context.auto_tool_choice = false;
  EXPECT_EQ(refused(kTools).field(), "tool_choice");
  EXPECT_TRUE(parse_chat_request(chat(kTools + R"(, "tool_choice": "none")"), context).ok());
}

}  // namespace
}  // namespace foregate
