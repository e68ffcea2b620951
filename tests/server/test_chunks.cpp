// The short ways of a streamed token give the bytes of the long ones: chunks from a frame, events handed over together,
// one write for what is sent in one turn.
#include <random>
#include <thread>

#include "server/generate/event_mail.h"
#include "server/openai/api_response.h"
#include "server/openai/chunk_frame.h"
#include "tests/server/service_fixture.h"

namespace foregate::test {
namespace {

std::string as_json(const std::string& text) {
  const std::string quoted = nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return quoted.substr(1, quoted.size() - 2);
}

// Bytes that mean something to JSON or to UTF-8, whole characters and parts of them.
std::string odd_text(std::mt19937& random) {
  static const std::string kParts[] = {"\"",
                                       "\\",
                                       "/",
                                       "\n",
                                       "\x01",
                                       "\x1f",
                                       "\x7f",
                                       "a",
                                       " b",
                                       "\xC3\xA9",
                                       "\xE2\x82\xAC",
                                       "\xF0\x9F\xA6\x8A",
                                       "\xED\xA0\x80",
                                       "\xC0\xAF",
                                       "\xF4\x90\x80\x80",
                                       "\xE2\x82",
                                       "\x80",
                                       "\xFF",
                                       "\"\"",
                                       std::string(1, '\0')};
  std::string text;
  for (unsigned i = random() % 6; i > 0; --i) text += kParts[random() % std::size(kParts)];
  return text;
}

TEST(ChunkFrame, WritesTextAsTheJsonLibraryDoes) {
  std::mt19937 random(3);
  for (int i = 0; i < 256; ++i) {
    const std::string one(1, static_cast<char>(i));
    std::string out;
    append_json_text(one, out);
    EXPECT_EQ(out, as_json(one)) << i;
  }
  for (int i = 0; i < 20'000; ++i) {
    const std::string text = odd_text(random);
    std::string out;
    append_json_text(text, out);
    ASSERT_EQ(out, as_json(text));
  }
}

TEST(ChunkFrame, ChunksAreThoseOfTheTree) {
  ByteTokenizer tokenizer;
  std::mt19937 random(5);
  using Kind = ReplyPiece::Kind;
  for (const int kind : {0, 1, 2, 3}) {  // completion; chat without a reader; with one: content, reasoning
    ApiRequest request;
    request.kind = kind == 0 ? ApiKind::kCompletion : ApiKind::kChat;
    request.prompts = {{1}, {2}};
    request.n = 2;
    if (kind > 1) request.reply.emplace();
    ApiResponse quick(request, tokenizer, "id\"\"", "a \"\" b", 7), slow(request, tokenizer, "id\"\"", "a \"\" b", 7);
    for (int i = 0; i < 500; ++i) {
      const std::size_t choice = random() % 4;
      SampleDelta delta;
      delta.text = odd_text(random);
      delta.tokens = {1, 2};
      if (kind > 1) delta.pieces = {{kind == 2 || random() % 4 == 0 ? Kind::kContent : Kind::kReasoning, delta.text}};
      ASSERT_EQ(quick.delta_bytes(choice, delta, nullptr, nullptr), slow.delta_chunk(choice, delta, nullptr, nullptr));
    }
  }
}

TEST(ChunkFrame, WhatHasMoreThanATextIsWrittenInFull) {
  ByteTokenizer tokenizer;
  ApiRequest request;
  request.prompts = {{1}};
  request.reply.emplace();
  ApiResponse quick(request, tokenizer, "id", "m", 7), slow(request, tokenizer, "id", "m", 7);
  SampleDelta delta;
  delta.pieces = {
      {ReplyPiece::Kind::kContent, "a"}, {ReplyPiece::Kind::kCall, "f"}, {ReplyPiece::Kind::kArguments, "{}"}};
  EXPECT_EQ(quick.delta_bytes(0, delta, nullptr, nullptr), slow.delta_chunk(0, delta, nullptr, nullptr));
  const Usage usage{1, 2, 0, 0};
  delta.pieces.resize(1);
  EXPECT_EQ(quick.delta_bytes(0, delta, &usage, nullptr), slow.delta_chunk(0, delta, &usage, nullptr));
  request.return_token_ids = true;
  delta.tokens = {5};
  EXPECT_EQ(quick.delta_bytes(0, delta, nullptr, nullptr), slow.delta_chunk(0, delta, nullptr, nullptr));
}

TEST_F(ServiceTest, WhatIsSentInOneTurnIsOneWrite) {
  start();
  auto client = connect();
  const auto id = submit(client, post("/v1/chat/completions", kStream));
  const int before = client->writes;
  for (const char c : std::string("abc")) parts.engine->say(id, 0, std::string(1, c));
  loop.turn();
  EXPECT_EQ(client->writes, before + 1);
  EXPECT_EQ(count(client->received, "data: "), 4u);  // the role, and each token in its own event
}

TEST_F(ServiceTest, WhereBytesAreNotTakenAtOnceTheAnswerIsTheSame) {
  start();
  std::string answers[2];
  for (const bool direct : {true, false}) {
    auto client = connect();
    client->direct = direct;
    const auto id = submit(client, post("/v1/completions", R"({"prompt": "p", "stream": true})"));
    parts.engine->say(id, 0, "one \xC3\xA9 \"two\"");
    parts.engine->finish(id, 0, FinishReason::kStop, kEos);
    loop.turn();
    answers[direct] = client->received.substr(client->received.find("\r\n\r\n"));
    const std::size_t at = answers[direct].find("cmpl-");
    ASSERT_NE(at, std::string::npos);
    for (std::size_t i = 0; (i = answers[direct].find("cmpl-", i)) != std::string::npos;) answers[direct].erase(i, 29);
    const std::size_t times = answers[direct].find("\"timings\"");
    answers[direct].erase(times, answers[direct].find("\n\n", times) - times);
    EXPECT_EQ(client->writes > 0, direct);
  }
  EXPECT_NE(answers[0].find("[DONE]"), std::string::npos);
  EXPECT_EQ(answers[0], answers[1]);
}

// More events than one turn takes, from another thread, come out whole and in order, and others have turns between
// them.
TEST_F(ServiceTest, EventsOfAnotherThreadComeInOrder) {
  start();
  auto client = connect();
  const auto id = submit(client, post("/v1/completions", R"({"prompt": "p", "stream": true, "max_tokens": 400})"));
  std::string expected;
  for (int i = 0; i < 300; ++i) expected += static_cast<char>('a' + i % 26);
  std::thread engine([&] {
    for (const char c : expected) parts.engine->say(id, 0, std::string(1, c));
    parts.engine->finish(id, 0, FinishReason::kLength);
  });
  EXPECT_TRUE(loop.turn_until([&] { return client->received.find("[DONE]") != std::string::npos; }));
  engine.join();
  std::string text;
  for (std::size_t at = 0; (at = client->received.find("\"text\":\"", at)) != std::string::npos;) {
    at += 8;
    text += client->received.substr(at, client->received.find('"', at) - at);
  }
  EXPECT_EQ(text, expected);
}

}  // namespace
}  // namespace foregate::test
