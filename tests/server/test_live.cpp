// What a client sees while its prompt is computed, times as llama-server gives them, the reply that a chat goes on
// from, and the list of what is live.
#include <gtest/gtest.h>

#include "tests/server/service_fixture.h"

namespace foregate {
namespace {

using namespace test;

// The data of each event of a stream but for the mark of its end.
std::vector<Json> events_of(const std::string& received) {
  std::vector<Json> events;
  for (std::size_t at = received.find("data: {"); at != std::string::npos; at = received.find("data: {", at + 1)) {
    events.push_back(Json::parse(received.substr(at + 6, received.find("\n\n", at) - at - 6)));
  }
  return events;
}

struct LiveTest : ServiceTest {
  struct Showing : HandEngine {
    std::vector<LiveSample> live_now;
    std::vector<LiveSample> live() const override { return live_now; }
  };
  std::shared_ptr<Showing> showing = std::make_shared<Showing>();
  LiveTest() {
    parts.engine = showing;
    parts.backend->owner = showing;
    parts.backend->engine = showing.get();
  }
  Request& request_of(std::uint64_t id) { return showing->HandEngine::live[id].request; }
  void progress(std::uint64_t id, std::int32_t computed, TimeNs spent, const std::string& text = "") {
    TokenEvent event;
    event.request = RequestId{id};
    event.cached_tokens = 2;
    event.progress = PromptProgress{computed, spent};
    for (unsigned char c : text) event.tokens.push_back(c);
    showing->emit(id, std::move(event));
    loop.turn();
  }
  Json slots(const std::string& query, const std::string& headers = "", int status = 200) {
    const auto connection = ask(get("/slots" + query, headers));
    EXPECT_TRUE(loop.turn_until([&] { return !connection->received.empty(); }));
    EXPECT_EQ(connection->received.substr(9, 3), std::to_string(status));
    return body_of(connection->received);
  }
};

TEST_F(LiveTest, ProgressOfAPromptIsStreamedBeforeItsText) {
  start();
  for (const bool chat : {true, false}) {
    auto connection = connect();
    const std::string body =
        chat ? R"({"messages": [{"role": "user", "content": "hi"}], "stream": true, "return_progress": true})"
             : R"({"prompt": "0123456789", "stream": true, "return_progress": true})";
    const auto id = submit(connection, post(chat ? "/v1/chat/completions" : "/v1/completions", body));
    EXPECT_TRUE(request_of(id).progress);
    const auto total = static_cast<std::int64_t>(request_of(id).prompt.size());
    progress(id, 4, 1'500'000);
    progress(id, static_cast<std::int32_t>(total), 7'999'999, "x");
    showing->finish(id, 0, FinishReason::kLength);
    loop.turn();
    const std::vector<Json> events = events_of(connection->received);
    ASSERT_EQ(events.size(), chat ? 5u : 4u) << connection->received;
    const Json& first = events[chat ? 1 : 0];
    EXPECT_EQ(first["prompt_progress"], (Json{{"total", total}, {"cache", 2}, {"processed", 4}, {"time_ms", 1}}));
    EXPECT_EQ(first["choices"][0]["finish_reason"], nullptr);
    const Json& last = events[chat ? 2 : 1];
    EXPECT_EQ(last["prompt_progress"]["processed"], total);
    EXPECT_EQ(last["prompt_progress"]["time_ms"], 7);
    const Json& said = events[chat ? 3 : 2];
    EXPECT_FALSE(said.contains("prompt_progress"));
    EXPECT_EQ(chat ? said["choices"][0]["delta"]["content"] : said["choices"][0]["text"], "x");
  }
}

TEST_F(LiveTest, ProgressIsOfStreamsThatAskForIt) {
  start();
  for (const char* body : {R"({"prompt": "x", "return_progress": true})", R"({"prompt": "x", "stream": true})"}) {
    auto connection = connect();
    const auto id = submit(connection, post("/v1/completions", body));
    EXPECT_FALSE(request_of(id).progress);
    progress(id, 1, 1);  // of an engine that tells all the same
    showing->say(id, 0, "x");
    showing->finish(id, 0, FinishReason::kLength);
    loop.turn();
    EXPECT_EQ(count(connection->received, "prompt_progress"), 0u);
  }
  const auto wrong = ask(post("/v1/completions", R"({"prompt": "x", "return_progress": 1})"));
  ASSERT_TRUE(loop.turn_until([&] { return !wrong->received.empty(); }));
  EXPECT_EQ(body_of(wrong->received)["error"]["param"], "return_progress");
}

TEST_F(LiveTest, TimingsComeWithEveryChunkWhenAskedFor) {
  start();
  for (const bool each : {false, true}) {
    auto connection = connect();
    const std::string body =
        std::string(R"({"prompt": "0123456789", "stream": true, "timings_per_token": )") + (each ? "true}" : "false}");
    const auto id = submit(connection, post("/v1/completions", body));
    const TimeNs now = loop.clock().now();
    for (int i = 1; i <= 3; ++i) {
      TokenEvent event;
      event.request = RequestId{id};
      event.tokens = {'a'};
      event.cached_tokens = 4;
      event.began_at = now + 1'000'000;  // it waited for a millisecond
      event.decided_at = now + 3'000'000 + i * 2'000'000;
      event.drafted = i == 2 ? 3 : 0;
      event.drafts_stood = i == 2 ? 1 : 0;
      showing->emit(id, std::move(event));
    }
    showing->finish(id, 0, FinishReason::kLength);
    loop.turn();
    const std::vector<Json> events = events_of(connection->received);
    ASSERT_EQ(events.size(), 4u);
    for (std::size_t i = 0; i < 3; ++i) {
      ASSERT_EQ(events[i].contains("timings"), each) << i;
      if (each) EXPECT_EQ(events[i]["timings"]["predicted_n"], i + 1);
    }
    const Json& last = events[3]["timings"];
    EXPECT_EQ(last["cache_n"], 4);
    EXPECT_EQ(last["prompt_n"], 6);
    EXPECT_DOUBLE_EQ(last["prompt_ms"].get<double>(), 4.0) << "waiting is not among it";
    EXPECT_DOUBLE_EQ(last["prompt_per_token_ms"].get<double>(), 4.0 / 6);
    EXPECT_DOUBLE_EQ(last["prompt_per_second"].get<double>(), 1500.0);
    EXPECT_EQ(last["predicted_n"], 3);
    EXPECT_DOUBLE_EQ(last["predicted_ms"].get<double>(), 4.0);
    EXPECT_DOUBLE_EQ(last["predicted_per_second"].get<double>(), 750.0);
    EXPECT_EQ(last["draft_n"], 3);
    EXPECT_EQ(last["draft_n_accepted"], 1);
  }
}

TEST_F(LiveTest, EchoPutsTheReplyThatAChatGoesOnFromBeforeIt) {
  start();
  const std::string open =
      R"({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Well"}],)"
      R"( "continue_final_message": true, "echo": true, "logprobs": true)";
  const std::string user = R"({"messages": [{"role": "user", "content": "hi"}], "echo": true)";
  for (const bool stream : {false, true}) {
    for (const std::string& body : {open, user}) {
      auto connection = connect();
      const auto id = submit(connection, post("/v1/chat/completions", body + (stream ? R"(, "stream": true})" : "}")));
      EXPECT_FALSE(request_of(id).prompt_logprobs) << "a prompt is not scored for it";
      showing->say(id, 0, ", yes");
      showing->finish(id, 0, FinishReason::kStop, kEos);
      loop.turn();
      std::string content;
      if (stream) {
        for (const Json& event : events_of(connection->received))
          content += event["choices"][0]["delta"].value("content", "");
      } else {
        content = body_of(connection->received)["choices"][0]["message"]["content"].get<std::string>();
      }
      EXPECT_EQ(content, body == open ? "Well, yes" : ", yes") << stream;
    }
  }
}

TEST_F(LiveTest, SlotsShowWhatIsLiveWithoutItsWords) {
  service_options.admin_key = "boss";
  start();
  const std::string admin = "Authorization: Bearer boss\r\n";
  auto first = connect(), second = connect();
  const auto one = submit(first, post("/v1/completions", R"({"prompt": ["secret", "two"], "n": 2, "max_tokens": 5,
      "temperature": 0.5, "seed": 7, "stop": ["hush"], "request_id": "mine", "stream": true})")) -
                   1;
  const auto two = submit(second, post("/v1/chat/completions", kStream));
  LiveSample sample;
  sample.request = RequestId{one};
  sample.index = 1;
  sample.state = SampleState::kDecode;
  sample.prompt_tokens = 6;
  sample.computed = 8;
  sample.generated = 3;
  sample.cached_tokens = 4;
  sample.first_run_at = loop.clock().now();
  showing->live_now = {sample};
  showing->finish(one, 0, FinishReason::kStop, kEos);
  loop.turn();
  const Json list = slots("", admin);
  ASSERT_EQ(list.size(), 4u) << "a sample that has ended is not live";
  EXPECT_EQ(list[0]["id"], "cmpl-mine");
  EXPECT_EQ(list[0]["id_task"], one);
  EXPECT_EQ(list[0]["index"], 1);
  EXPECT_EQ(list[0]["state"], "decode");
  EXPECT_EQ(list[0]["is_processing"], true);
  EXPECT_EQ(list[0]["prompt_tokens"], 6);
  EXPECT_EQ(list[0]["computed_tokens"], 8);
  EXPECT_EQ(list[0]["generated_tokens"], 3);
  EXPECT_EQ(list[0]["cached_tokens"], 4);
  EXPECT_EQ(list[0]["params"]["seed"], 7);
  EXPECT_EQ(list[0]["params"]["max_tokens"], 5);
  EXPECT_EQ(list[0]["params"]["stop"], 1);
  EXPECT_EQ(list[1]["state"], "waiting") << "submitted, and not seen by the engine yet";
  EXPECT_EQ(list[1]["queue_ms"], nullptr);
  EXPECT_EQ(list[1]["prompt_index"], 1);
  EXPECT_EQ(list[3]["id_task"], two);
  EXPECT_EQ(list.dump().find("secret"), std::string::npos);
  EXPECT_EQ(list.dump().find("hush"), std::string::npos);
  const Json told = slots("?prompt=true", admin);
  EXPECT_EQ(told[0]["prompt"], "secret");
  EXPECT_EQ(told[0]["params"]["stop"], Json::array({"hush"}));
  slots("?prompt=yes", admin, 400);
  slots("", "", 401);
}

TEST_F(LiveTest, PromptsAreForTheAdminOnlyAndTheListCanBeLeftOut) {
  service_options.api_keys = {"one"};
  start();
  const std::string key = "Authorization: Bearer one\r\n";
  EXPECT_EQ(slots("", key), Json::array());
  const Json refused = slots("?prompt=true", key, 403)["error"];
  EXPECT_EQ(refused["param"], "prompt");
  EXPECT_EQ(refused["type"], "invalid_request_error");
  EXPECT_EQ(refused["code"], "permission_denied");
  service_options.slots = false;
  service_options.api_keys.clear();
  start();
  slots("", "", 404);
  EXPECT_FALSE(body_of(ask(get("/openapi.json"))->received)["paths"].contains("/slots"));
}

}  // namespace
}  // namespace foregate
