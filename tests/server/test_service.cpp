// The whole server over the in-memory network and an engine that the test drives: one terminal per
// request, cancel on disconnect, back-pressure, limits, routes and keys.
#include <gtest/gtest.h>

#include <future>

#include "engine/api/client_share.h"
#include "server/http/router.h"
#include "tests/server/service_fixture.h"

namespace foregate {
namespace {

using namespace test;

TEST_F(ServiceTest, ChatWhole) {
  start();
  auto connection = connect();
  const auto id = submit(connection, post("/v1/chat/completions", kChat));
  parts.engine->say(id, 0, "hello");
  loop.turn();
  EXPECT_EQ(connection->received, "") << "nothing before the end";
  parts.engine->finish(id, 0, FinishReason::kStop, test::kEos);
  loop.turn();
  const Json body = body_of(connection->received);
  EXPECT_EQ(body["choices"][0]["message"]["content"], "hello");
  EXPECT_EQ(body["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(body["usage"]["completion_tokens"], 6);
  EXPECT_EQ(frontend->open_answers(), 0u);
  EXPECT_FALSE(connection->closed) << "kept alive";
  const auto second = submit(connection, post("/v1/chat/completions", kChat));
  EXPECT_NE(second, id);
}

TEST_F(ServiceTest, SaltAndClientReachTheEngineAndCachedTokensComeBack) {
  start();
  auto connection = connect();
  const char* body = R"({"prompt": "x", "n": 2, "cache_salt": "mine"})";
  const auto id = submit(connection, post("/v1/completions", body));
  EXPECT_EQ(parts.engine->live[id].request.cache_salt, "mine");
  const std::uint64_t mine = parts.engine->live[id].request.client;
  EXPECT_NE(mine, 0u) << "without keys the salt is the client";
  parts.engine->cached_tokens = 7;  // a sample that shares the prompt of the other one
  parts.engine->say(id, 1, "b");
  parts.engine->cached_tokens = 3;
  parts.engine->say(id, 0, "a");
  parts.engine->cached_tokens = 0;
  for (int i : {0, 1}) parts.engine->finish(id, i, FinishReason::kLength);
  loop.turn();
  EXPECT_EQ(body_of(connection->received)["usage"]["prompt_tokens_details"]["cached_tokens"], 3);
  const auto plain = submit(connection, post("/v1/completions", R"({"prompt": "x"})"));
  EXPECT_EQ(parts.engine->live[plain].request.client, 0u);
}

TEST_F(ServiceTest, TheKeyIsTheClient) {
  service_options.api_keys = {"one", "two"};
  start();
  auto connection = connect();
  const char* body = R"({"prompt": "x", "cache_salt": "mine"})";
  const auto id = submit(connection, post("/v1/completions", body, "Authorization: Bearer two\r\n"));
  EXPECT_EQ(parts.engine->live[id].request.client, 2u);
}

TEST_F(ServiceTest, StreamHasOneTerminal) {
  start();
  auto connection = connect();
  const auto id = submit(connection, post("/v1/chat/completions", kStream));
  parts.engine->say(id, 0, "he");
  parts.engine->say(id, 0, "y");
  parts.engine->finish(id, 0, FinishReason::kLength);
  loop.turn();
  EXPECT_EQ(count(connection->received, "data: [DONE]"), 1u);
  EXPECT_EQ(count(connection->received, "\"finish_reason\":\"length\""), 1u);
  EXPECT_EQ(count(connection->received, "\"error\""), 0u);
  EXPECT_LT(connection->received.find("\"role\":\"assistant\""), connection->received.find("\"content\":\"he\""));
  EXPECT_EQ(connection->received.substr(connection->received.size() - 5), "0\r\n\r\n");
}

TEST_F(ServiceTest, EngineFailureIsOneErrorAndNoDone) {
  start();
  auto streamed = connect();
  const auto id = submit(streamed, post("/v1/chat/completions", kStream));
  parts.engine->say(id, 0, "he");
  parts.engine->finish(id, 0, FinishReason::kError, -1, internal_error("the step failed"));
  loop.turn();
  EXPECT_EQ(count(streamed->received, "[DONE]"), 0u);
  EXPECT_EQ(count(streamed->received, "\"error\""), 1u);
  auto whole = connect();
  const auto other = submit(whole, post("/v1/chat/completions", kChat));
  parts.engine->finish(other, 0, FinishReason::kError, -1, internal_error("the step failed"));
  loop.turn();
  EXPECT_EQ(whole->received.substr(0, 12), "HTTP/1.1 500");
}

TEST_F(ServiceTest, OneSampleFailingEndsTheOthers) {
  start();
  auto connection = connect();
  const auto id = submit(connection, post("/v1/completions", R"({"prompt": "x", "n": 3, "stream": true})"));
  parts.engine->finish(id, 1, FinishReason::kError, -1, internal_error("bad"));
  loop.turn();
  EXPECT_EQ(count(connection->received, "\"error\""), 1u);
  EXPECT_EQ(count(connection->received, "[DONE]"), 0u);
  EXPECT_EQ(parts.engine->cancelled, 2);
  EXPECT_TRUE(parts.engine->idle());
}

TEST_F(ServiceTest, DisconnectCancelsWholeAndStreamed) {
  start();
  for (const char* body : {kChat, kStream}) {
    auto connection = connect();
    const auto id = submit(connection, post("/v1/chat/completions", body));
    parts.engine->say(id, 0, "x");
    loop.turn();
    const int before = parts.engine->cancelled;
    connection->hang_up();
    loop.turn();
    EXPECT_EQ(parts.engine->cancelled, before + 1);
    EXPECT_TRUE(connection->closed);
    EXPECT_EQ(frontend->open_answers(), 0u);
  }
  loop.turn();
  EXPECT_EQ(http->connections(), 0u);
}

TEST_F(ServiceTest, DisconnectBeforeTheEngineHasItSubmitsNothing) {
  start();
  auto connection = connect();
  connection->send(post("/v1/chat/completions", kChat));
  connection->hang_up();
  ASSERT_TRUE(loop.turn_until([&] { return connection->closed && frontend->open_answers() == 0; }));
  EXPECT_TRUE(parts.engine->idle());
}

TEST_F(ServiceTest, StopStringCancelsTheSampleOnly) {
  start();
  auto connection = connect();
  const auto id = submit(connection, post("/v1/completions", R"({"prompt": "x", "n": 2, "stop": "END"})"));
  parts.engine->say(id, 0, "abEN");
  parts.engine->say(id, 0, "Dcd");
  loop.turn();
  EXPECT_EQ(parts.engine->cancelled, 1);
  parts.engine->say(id, 1, "yes");
  parts.engine->finish(id, 1, FinishReason::kLength);
  loop.turn();
  const Json body = body_of(connection->received);
  EXPECT_EQ(body["choices"][0]["text"], "ab");
  EXPECT_EQ(body["choices"][0]["stop_reason"], "END");
  EXPECT_EQ(body["choices"][1]["text"], "yes");
}

TEST_F(ServiceTest, SlowReaderIsPausedResumedAndCompletes) {
  http_options.stream_buffer_bytes = 2000;
  start();
  auto connection = connect();
  connection->window = 300;
  const auto id = submit(connection, post("/v1/chat/completions", kStream));
  int said = 0;
  while (parts.engine->paused.empty() && said < 100) {
    parts.engine->say(id, 0, "x");
    loop.turn();
    ++said;
  }
  ASSERT_EQ(parts.engine->paused, std::vector<bool>{true});
  EXPECT_LT(said, 20);
  connection->allow(1u << 30);
  loop.turn();
  EXPECT_EQ(parts.engine->paused, (std::vector<bool>{true, false}));
  parts.engine->finish(id, 0, FinishReason::kLength);
  loop.turn();
  EXPECT_EQ(count(connection->received, "\"content\":\"x\""), static_cast<std::size_t>(said));
  EXPECT_EQ(count(connection->received, "[DONE]"), 1u);
}

TEST_F(ServiceTest, StalledReaderIsDroppedAndCancelled) {
  http_options.stall_timeout = 30;
  start();
  auto connection = connect();
  connection->window = 10;
  const auto id = submit(connection, post("/v1/chat/completions", kStream));
  parts.engine->say(id, 0, "x");
  loop.advance(29);
  EXPECT_FALSE(connection->closed);
  loop.advance(2);
  EXPECT_TRUE(connection->closed);
  loop.turn();
  EXPECT_EQ(parts.engine->cancelled, 1);
  EXPECT_EQ(metrics.counter("foregate:http_stalled_clients", "").value(), 1);
}

TEST_F(ServiceTest, OverfullStreamIsDropped) {
  http_options.stream_buffer_bytes = 1000;
  start();
  auto connection = connect();
  connection->window = 1;
  const auto id = submit(connection, post("/v1/chat/completions", kStream));
  for (int i = 0; i < 160; ++i) parts.engine->say(id, 0, "y");  // an engine that ignores the pause
  loop.turn();
  EXPECT_TRUE(connection->closed);
  EXPECT_TRUE(parts.engine->idle());
}

TEST_F(ServiceTest, FullAndDrainingEnginesAnswer503WithRetryAfter) {
  start();
  parts.engine->refuse = resource_exhausted("the queue is full");
  auto connection = connect();
  connection->send(post("/v1/chat/completions", kStream));
  ASSERT_TRUE(loop.turn_until([&] { return !connection->received.empty(); }));
  EXPECT_EQ(connection->received.substr(0, 12), "HTTP/1.1 503");
  EXPECT_NE(connection->received.find("retry-after"), std::string::npos);
  EXPECT_EQ(frontend->open_answers(), 0u);
}

TEST_F(ServiceTest, AClientOverItsShareGets429) {
  start();
  parts.engine->refuse = Status(Code::kResourceExhausted, "this client holds 3 places", kClientShareField);
  auto connection = connect();
  connection->send(post("/v1/chat/completions", kChat));
  ASSERT_TRUE(loop.turn_until([&] { return !connection->received.empty(); }));
  EXPECT_EQ(connection->received.substr(0, 12), "HTTP/1.1 429");
  EXPECT_NE(connection->received.find("retry-after"), std::string::npos);
  EXPECT_EQ(body_of(connection->received)["error"]["code"], "client_over_share");
  EXPECT_TRUE(body_of(connection->received)["error"]["param"].is_null());
}

// The header alone is there: who will be refused need not send a body, and nobody parses it.
TEST_F(ServiceTest, AClientOverItsShareIsRefusedBeforeItsBody) {
  service_options.api_keys = {"one", "two"};
  start();
  parts.engine->crowded = 2;
  parts.engine->room = Status(Code::kResourceExhausted, "this client holds 3 places", kClientShareField);
  const auto head = [](const std::string& key) {
    return "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer " + key +
           "\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n";
  };
  auto crowded = connect();
  crowded->send(head("two"));
  ASSERT_TRUE(loop.turn_until([&] { return !crowded->received.empty(); }));
  EXPECT_EQ(crowded->received.substr(0, 12), "HTTP/1.1 429");
  EXPECT_NE(crowded->received.find("retry-after"), std::string::npos);
  auto other = connect();
  other->send(head("one"));
  loop.turn();
  EXPECT_TRUE(other->received.empty()) << "its body is awaited";
  parts.engine->crowded = 1;
  parts.engine->room = Status(Code::kResourceExhausted, "the queue is full");
  auto full = connect();
  full->send(head("one"));
  ASSERT_TRUE(loop.turn_until([&] { return !full->received.empty(); }));
  EXPECT_EQ(full->received.substr(0, 12), "HTTP/1.1 503");
}

TEST_F(ServiceTest, LoadingDrainingAndStalledAreNotReady) {
  start(false);
  EXPECT_EQ(ask(get("/health"))->received.substr(0, 12), "HTTP/1.1 503");
  EXPECT_EQ(ask(get("/health/live"))->received.substr(0, 12), "HTTP/1.1 200");
  EXPECT_EQ(ask(post("/v1/chat/completions", kChat))->received.substr(0, 12), "HTTP/1.1 503");
  frontend->set_backend(parts.backend);
  EXPECT_EQ(ask(get("/health"))->received.substr(0, 12), "HTTP/1.1 200");
  parts.engine->healthy_ = false;
  EXPECT_EQ(body_of(ask(get("/health"))->received)["status"], "stalled");
  EXPECT_EQ(ask(get("/health/live"))->received.substr(0, 12), "HTTP/1.1 503");  // a restart would mend it
  parts.engine->healthy_ = true;
  frontend->begin_drain();
  EXPECT_EQ(body_of(ask(get("/health"))->received)["status"], "draining");
  EXPECT_EQ(ask(get("/health/live"))->received.substr(0, 12), "HTTP/1.1 200");
  EXPECT_EQ(ask(post("/v1/chat/completions", kChat))->received.substr(0, 12), "HTTP/1.1 503");
}

TEST_F(ServiceTest, WhoLeavesIsNotReadyButServesWhoStillAsks) {
  start();
  EXPECT_EQ(ask(get("/health/ready"))->received.substr(0, 12), "HTTP/1.1 200");
  frontend->begin_leaving();
  EXPECT_EQ(ask(get("/health/ready"))->received.substr(0, 12), "HTTP/1.1 503");
  EXPECT_EQ(ask(get("/health"))->received.substr(0, 12), "HTTP/1.1 503");
  EXPECT_EQ(ask(get("/health/live"))->received.substr(0, 12), "HTTP/1.1 200");
  auto connection = connect();
  const auto id = submit(connection, post("/v1/chat/completions", kChat));
  frontend->begin_drain();
  EXPECT_EQ(ask(post("/v1/chat/completions", kChat))->received.substr(0, 12), "HTTP/1.1 503");
  parts.engine->finish(id, 0, FinishReason::kStop, test::kEos);
  loop.turn();
  EXPECT_EQ(connection->received.substr(0, 12), "HTTP/1.1 200");
}

TEST_F(ServiceTest, TheDeadlineIsTheEarlierOfTheClientsAndTheServers) {
  service_options.request_timeout = 10;
  start();
  const TimeNs before = loop.clock().now();
  const auto deadline_with = [&](const std::string& headers) {
    auto connection = connect();
    const auto id = submit(connection, post("/v1/chat/completions", kChat, headers));
    return parts.engine->live[id].request.deadline;
  };
  const TimeNs second = 1'000'000'000;
  EXPECT_GE(deadline_with(""), before + 10 * second);
  EXPECT_LE(deadline_with("X-Request-Timeout-Ms: 2000\r\n"), loop.clock().now() + 2 * second);
  EXPECT_GE(deadline_with("X-Request-Timeout-Ms: 2000\r\n"), before + 2 * second);
  EXPECT_LE(deadline_with("X-Request-Timeout-Ms: 60000\r\n"), loop.clock().now() + 10 * second);
  for (const char* bad : {"", "0", "-1", "soon", "1.5", "99999999999999999999"}) {
    const auto answer = ask(post("/v1/chat/completions", kChat, std::string("X-Request-Timeout-Ms: ") + bad + "\r\n"));
    EXPECT_EQ(answer->received.substr(0, 12), "HTTP/1.1 400") << bad;
  }
}

TEST_F(ServiceTest, WhoseTimePassesBeforeAWorkerIsFreeTakesNoPlace) {
  start();
  std::promise<void> gate;
  std::shared_future<void> opened = gate.get_future().share();
  int held = 0;
  for (int i = 0; i < 64; ++i) {
    frontend->run([opened](const ApiContext&) { return opened.wait(), Status(); }, [&held](const Status&) { ++held; });
  }
  auto connection = connect();
  connection->send(post("/v1/chat/completions", kChat, "X-Request-Timeout-Ms: 500\r\n"));
  loop.advance(1.0);
  EXPECT_TRUE(connection->received.empty());
  gate.set_value();
  ASSERT_TRUE(loop.turn_until([&] { return !connection->received.empty() && held == 64; }));
  EXPECT_EQ(connection->received.substr(0, 12), "HTTP/1.1 504");
  EXPECT_TRUE(parts.engine->order.empty()) << "the engine never heard of it";
}

TEST_F(ServiceTest, DrainFailsWhatIsOpen) {
  start();
  auto connection = connect();
  const auto id = submit(connection, post("/v1/chat/completions", kStream));
  parts.engine->say(id, 0, "x");
  loop.turn();
  frontend->fail_open(unavailable("shutting down"));
  loop.turn();
  EXPECT_EQ(count(connection->received, "\"error\""), 1u);
  EXPECT_EQ(count(connection->received, "[DONE]"), 0u);
  EXPECT_TRUE(parts.engine->idle());
  EXPECT_EQ(frontend->open_answers(), 0u);
}

TEST_F(ServiceTest, UnknownPathsAndMethods) {
  start();
  EXPECT_EQ(ask(get("/nowhere"))->received.substr(9, 3), "404");
  EXPECT_EQ(ask(get("/v1/completions"))->received.substr(9, 3), "405");
  EXPECT_EQ(ask(post("/health", "{}"))->received.substr(9, 3), "405");
  EXPECT_EQ(ask(get("/v1/models/other"))->received.substr(9, 3), "404");
  EXPECT_EQ(ask(get("/v1/models/"))->received.substr(9, 3), "404");
  EXPECT_EQ(ask("OPTIONS /v1/completions HTTP/1.1\r\nHost: x\r\n\r\n")->received.substr(9, 3), "204");
}

TEST_F(ServiceTest, EverySplitOfARequestGivesTheSameAnswer) {
  start();
  const std::string request =
      get("/health") + get("/nowhere") + post("/tokenize", R"({"prompt": "ab"})") + get("/health/live");
  const auto all = [](const std::shared_ptr<MemoryConnection>& connection) {
    return [connection] { return count(connection->received, "HTTP/1.1 ") == 4; };
  };
  auto whole = ask(request);
  ASSERT_TRUE(loop.turn_until(all(whole))) << whole->received;
  const std::string expected = whole->received;
  for (std::size_t size = 1; size < request.size(); size += 7) {
    auto connection = connect();
    connection->largest_read = size;
    connection->send(request);
    ASSERT_TRUE(loop.turn_until(all(connection))) << size;
    EXPECT_EQ(connection->received, expected) << size;
  }
}

TEST_F(ServiceTest, TimersCloseSlowAndIdleConnections) {
  start();
  auto idle = connect();
  auto slow = connect();
  slow->send("GET /hea");
  loop.advance(11);
  EXPECT_EQ(slow->received.substr(9, 3), "408");
  EXPECT_FALSE(idle->closed);
  loop.advance(70);
  EXPECT_TRUE(idle->closed);
  EXPECT_EQ(idle->received, "");
  EXPECT_TRUE(slow->closed);
}

TEST_F(ServiceTest, ConnectionsBeyondTheCap) {
  http_options.max_connections = 2;
  start();
  auto first = connect(), second = connect(), third = connect();
  loop.turn();
  EXPECT_EQ(third->received.substr(9, 3), "503");
  first->hang_up();
  third->hang_up();
  loop.turn();
  auto fourth = ask(get("/health"));
  EXPECT_EQ(fourth->received.substr(9, 3), "200");
}

TEST_F(ServiceTest, DrainClosesIdleConnections) {
  start();
  auto idle = connect();
  loop.turn();
  http->begin_drain();
  loop.turn();
  EXPECT_TRUE(idle->closed);
  auto late = ask(get("/health"));
  EXPECT_NE(late->received.find("connection: close"), std::string::npos);
}

TEST(Router, DecodesIds) {
  EXPECT_EQ(match_route("GET", "/v1/models/a%2Fb").id, "a/b");
  EXPECT_EQ(match_route("GET", "/v1/models/a/b").id, "a/b");
  EXPECT_EQ(match_route("HEAD", "/health").route->endpoint, Endpoint::kHealth);
  EXPECT_EQ(match_route("PUT", "/health").route, nullptr);
  EXPECT_FALSE(match_route("PUT", "/health").allow.empty());
  EXPECT_EQ(match_route("GET", "/v1/files/f%201/content").id, "f 1");
  EXPECT_EQ(match_route("GET", "/v1/files/f/content").route->endpoint, Endpoint::kFileContent);
  EXPECT_EQ(match_route("GET", "/v1/files/f").route->endpoint, Endpoint::kFile);
  EXPECT_EQ(match_route("DELETE", "/v1/files/f").route->endpoint, Endpoint::kFileDelete);
  EXPECT_EQ(match_route("PUT", "/v1/files/f").allow, "GET, HEAD, DELETE, OPTIONS");
  EXPECT_EQ(match_route("DELETE", "/v1/files/f/content").allow, "GET, HEAD, OPTIONS");
  EXPECT_EQ(match_route("POST", "/v1/batches/a/b/cancel").route, nullptr);  // an id in the middle is one segment
  EXPECT_TRUE(match_route("POST", "/v1/batches//cancel").route == nullptr);
}

}  // namespace
}  // namespace foregate
