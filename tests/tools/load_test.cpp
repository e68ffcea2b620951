// The load generator's pure parts: arrivals, datasets, answers taken apart, figures.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "tools/load/http_body.h"
#include "tools/load/load_dataset.h"
#include "tools/load/load_options.h"
#include "tools/load/load_result.h"
#include "tools/load/load_runner.h"
#include "tools/load/load_schedule.h"
#include "tools/load/stream_request.h"

namespace foregate {
namespace {

using Json = nlohmann::json;

Json input(const LoadRequest& request) {
  return Json::parse("{" + request.input + "}");
}

TEST(LoadSchedule, HasTheRateAndTheBurstiness) {
  for (const double burstiness : {0.25, 1.0, 16.0}) {
    const auto times = arrival_times(20000, 50, burstiness, 7);
    EXPECT_TRUE(std::is_sorted(times.begin(), times.end()));
    EXPECT_NEAR(20000 / times.back(), 50, 2.5) << burstiness;
    double square = 0;
    for (std::size_t i = 1; i < times.size(); ++i) square += std::pow((times[i] - times[i - 1]) * 50 - 1, 2);
    const double variance = square / 19999;  // of a gamma process of mean 1: one over its shape
    EXPECT_NEAR(variance * burstiness, 1, 0.1) << burstiness;
  }
  EXPECT_EQ(arrival_times(3, 0, 1, 7), std::vector<double>(3, 0.0));
  EXPECT_EQ(arrival_times(9, 2, 1, 7), arrival_times(9, 2, 1, 7));
  EXPECT_NE(arrival_times(9, 2, 1, 7), arrival_times(9, 2, 1, 8));
}

TEST(LoadDataset, MakesPromptsOfWords) {
  const DatasetOptions options{.count = 5, .input_words = 30, .output_tokens = 7, .seed = 3};
  const auto made = random_requests(options);
  ASSERT_EQ(made.size(), 5u);
  std::set<std::string> texts;
  for (const LoadRequest& one : made) {
    const std::string text = input(one)["prompt"];
    EXPECT_EQ(std::count(text.begin(), text.end(), ' '), 29);
    EXPECT_EQ(one.output_tokens, 7);
    texts.insert(text);
  }
  EXPECT_EQ(texts.size(), 5u);
  EXPECT_EQ(random_requests(options)[4].input, made[4].input);
}

TEST(LoadDataset, LengthsLieInTheirRange) {
  std::set<std::ptrdiff_t> words, tokens;
  for (const LoadRequest& one : random_requests({.count = 300, .input_words = 10, .output_tokens = 4, .range = 0.5})) {
    const std::string text = input(one)["prompt"];
    words.insert(std::count(text.begin(), text.end(), ' ') + 1);
    tokens.insert(one.output_tokens);
  }
  EXPECT_EQ(words.size(), 11u);
  EXPECT_EQ(*words.begin(), 5);
  EXPECT_EQ(*words.rbegin(), 15);
  EXPECT_EQ(tokens, (std::set<std::ptrdiff_t>{2, 3, 4, 5, 6}));
}

TEST(LoadDataset, ReadsShareGpt) {
  const char* text =
      R"([{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "one two three"}]},
                         {"conversations": [{"from": "human", "value": "never answered"}]}, 7, {"conversations": 1},
                         {"conversations": [{"from": "human", "value": "b"}, {"from": "gpt", "value": "x"}]}])";
  auto made = requests_of_sharegpt(text, {.count = 4, .output_tokens = 0});
  ASSERT_TRUE(made.ok());
  ASSERT_EQ(made->size(), 4u);
  std::set<std::string> asked;
  for (const LoadRequest& one : *made) {
    asked.insert(input(one)["prompt"]);
    EXPECT_EQ(one.output_tokens, input(one)["prompt"] == "a" ? 4 : 2);
  }
  EXPECT_EQ(asked, (std::set<std::string>{"a", "b"}));
  EXPECT_EQ((*requests_of_sharegpt(text, {.count = 1, .output_tokens = 9}))[0].output_tokens, 9);
  for (const char* wrong : {"", "{}", "[]", "[1]"}) {
    EXPECT_EQ(requests_of_sharegpt(wrong, {.count = 1}).status().field(), "dataset-path") << wrong;
  }
}

TEST(LoadDataset, PrefixesTakeTurns) {
  const auto made = repeated_prefixes({.chat = true, .count = 6, .input_words = 20, .prefixes = 2, .prefix_words = 12});
  std::set<std::string> beginnings, texts;
  for (const LoadRequest& one : made) {
    const std::string text = input(one)["messages"][0]["content"];
    texts.insert(text);
    std::size_t end = 0;
    for (int i = 0; i < 12; ++i) end = text.find(' ', end) + 1;
    beginnings.insert(text.substr(0, end));
  }
  EXPECT_EQ(beginnings.size(), 2u);
  EXPECT_EQ(texts.size(), 6u);
}

TEST(LoadDataset, ReadsFiles) {
  auto made = requests_of_file("{\"prompt\": \"a \\\"b\\\"\", \"output_tokens\": 5}\r\n\n{\"prompt\": \"c\"}\n",
                               {.count = 3, .output_tokens = 9});
  ASSERT_TRUE(made.ok());
  ASSERT_EQ(made->size(), 3u);
  EXPECT_EQ(input((*made)[0])["prompt"], "a \"b\"");
  EXPECT_EQ((*made)[0].output_tokens, 5);
  EXPECT_EQ((*made)[1].output_tokens, 9);
  EXPECT_EQ((*made)[2].input, (*made)[0].input) << "begins again";
  const char* wrong[] = {"",
                         "[1]",
                         "{\"prompt\": 1}",
                         "{\"messages\": []}",
                         "{\"prompt\": \"a\", \"max_tokens\": 0}",
                         "{\"prompt\": \"a\"}\nnothing"};
  for (const char* text : wrong) {
    const auto refused = requests_of_file(text, {.count = 3});
    EXPECT_EQ(refused.status().code(), Code::kInvalidArgument) << text;
    EXPECT_EQ(refused.status().field(), "dataset-path");
  }
  EXPECT_TRUE(
      requests_of_file("{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}", {.chat = true, .count = 1}).ok());
}

TEST(LoadDataset, ReadsTraces) {
  auto azure = requests_of_trace(
      "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.5,12,3\n2023-11-16 18:16:47.75,4,8\n",
      {.count = 9});
  ASSERT_TRUE(azure.ok());
  ASSERT_EQ(azure->size(), 2u);
  EXPECT_EQ((*azure)[0].at_seconds, 0);
  EXPECT_NEAR((*azure)[1].at_seconds, 61.25, 1e-6);
  EXPECT_EQ((*azure)[1].output_tokens, 8);
  const std::string text = input((*azure)[0])["prompt"];
  EXPECT_EQ(std::count(text.begin(), text.end(), ' '), 11);

  auto mooncake =
      requests_of_trace(R"({"timestamp": 3000, "input_length": 600, "output_length": 5, "hash_ids": [1, 2]})"
                        "\n"
                        R"({"timestamp": 1000, "input_length": 700, "output_length": 6, "hash_ids": [1, 3]})",
                        {.count = 9});
  ASSERT_TRUE(mooncake.ok());
  EXPECT_EQ((*mooncake)[0].output_tokens, 6) << "in the order of time";
  EXPECT_EQ((*mooncake)[1].at_seconds, 2);
  const std::string a = input((*mooncake)[0])["prompt"], b = input((*mooncake)[1])["prompt"];
  const auto shared = static_cast<std::size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
  EXPECT_GE(std::count(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(shared), ' '), 512) << "one block is shared";
  EXPECT_LT(shared, std::min(a.size(), b.size()));
  for (const char* wrong : {"a,b,c", "2023-11-16 18:15:46,0,1", "{\"timestamp\": 1}", "{", "TIMESTAMP,x,y\n"}) {
    EXPECT_FALSE(requests_of_trace(wrong, {.count = 9}).ok()) << wrong;
  }
}

TEST(LoadHttp, TakesAnswersApartByteByByte) {
  const std::string chunked =
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n7;x=y\r\n, world\r\n0\r\n\r\n";
  const std::string sized = "HTTP/1.1 404 Not Found\r\ncontent-length: 12\r\n\r\nhello, world";
  for (const std::string& answer : {chunked, sized}) {
    for (const std::size_t piece : {1, 3, 1000}) {
      HttpBody body;
      for (std::size_t at = 0; at < answer.size(); at += piece) {
        EXPECT_FALSE(body.complete());
        ASSERT_TRUE(body.take(answer.substr(at, piece)).ok());
      }
      EXPECT_TRUE(body.complete());
      EXPECT_EQ(body.body(), "hello, world");
      EXPECT_EQ(body.status(), &answer == &chunked ? 200 : body.status());
    }
  }
  HttpBody wrong;
  EXPECT_FALSE(wrong.take("SSH-2.0-x\r\n\r\n").ok());
  HttpBody no_size;
  EXPECT_FALSE(no_size.take("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-5\r\nxx").ok());
}

TEST(LoadBody, HoldsWhatWasAsked) {
  LoadTarget target;
  target.model = "m\"";
  target.extra = "\"temperature\": 0.0";
  const auto body = Json::parse(request_body(target, {.input = "\"prompt\": \"x\"", .output_tokens = 3}));
  EXPECT_EQ(body, Json::parse(R"({"prompt": "x", "stream": true, "stream_options": {"include_usage": true},
                                  "model": "m\"", "max_tokens": 3, "temperature": 0.0})"));
}

Result<BenchServeOptions> options_of(std::vector<const char*> words) {
  words.insert(words.begin(), "serve");
  return parse_load_options(static_cast<int>(words.size()), words.data());
}

TEST(BenchServeOptions, TakesVllmsFlags) {
  auto plain = options_of({"--base-url", "http://[::1]:81", "--ignore-eos"});
  ASSERT_TRUE(plain.ok());
  EXPECT_EQ(plain->target.host, "::1");
  EXPECT_EQ(plain->target.path, "/v1/completions");
  EXPECT_EQ(plain->rates, std::vector<double>{0});
  EXPECT_EQ(Json::parse("{" + plain->target.extra + "}"), Json::parse(R"({"temperature": 0, "ignore_eos": true})"));
  EXPECT_FALSE(plain->save_result);
  auto chat = options_of({"--backend",
                          "openai-chat",
                          "--host",
                          "h",
                          "--port",
                          "9",
                          "--dataset-name",
                          "random",
                          "--random-input-len",
                          "5",
                          "--random-output-len",
                          "6",
                          "--request-rate",
                          "2,inf",
                          "--goodput",
                          "ttft:200",
                          "e2el:5000",
                          "--percentile-metrics",
                          "ttft,itl",
                          "--metric-percentiles",
                          "99,50",
                          "--extra-body",
                          R"({"temperature": 1, "top_k": 3})",
                          "--save-result",
                          "--result-dir",
                          "d",
                          "--metadata",
                          "a=b"});
  ASSERT_TRUE(chat.ok());
  EXPECT_EQ(chat->target.port, "9");
  EXPECT_EQ(chat->target.path, "/v1/chat/completions");
  EXPECT_TRUE(chat->data.chat);
  EXPECT_EQ(chat->data.input_words, 5);
  EXPECT_EQ(chat->data.output_tokens, 6);
  EXPECT_EQ(chat->rates, (std::vector<double>{2, 0}));
  EXPECT_EQ(chat->report.level.ttft, 200);
  EXPECT_EQ(chat->report.level.e2el, 5000);
  EXPECT_EQ(chat->report.metrics, (std::vector<std::string>{"ttft", "itl"}));
  EXPECT_EQ(chat->report.percentiles, (std::vector<double>{50, 99}));
  EXPECT_EQ(Json::parse("{" + chat->target.extra + "}"), Json::parse(R"({"temperature": 1, "top_k": 3})"));
  EXPECT_TRUE(chat->save_result);
}

TEST(BenchServeOptions, NamesWhatIsWrong) {
  const std::vector<std::pair<std::vector<const char*>, const char*>> wrong = {
      {{"--request-rate", "fast"}, "request-rate"},
      {{"--request-rate", "-1"}, "request-rate"},
      {{"--goodput", "ttft"}, "goodput"},
      {{"--goodput", "itl:3"}, "goodput"},
      {{"--base-url", "https://x"}, "url"},
      {{"--percentile-metrics", "ttft,time"}, "percentile-metrics"},
      {{"--metric-percentiles", "101"}, "metric-percentiles"},
      {{"--extra-body", "[1]"}, "extra-body"},
      {{"--metadata", "=b"}, "metadata"},
      {{"--dataset-name", "trace"}, "dataset-path"},
      {{"--dataset-name", "sonnet"}, ""},
  };
  for (const auto& [words, field] : wrong) {
    const auto refused = options_of(words);
    EXPECT_EQ(refused.status().code(), Code::kInvalidArgument) << words[1];
    EXPECT_EQ(refused.status().field(), field) << words[1];
  }
}

LoadOutcome outcome(double first, double end, int tokens) {
  return {
      .ok = true, .first_token = first, .end = end, .gaps = {end - first}, .input_tokens = 10, .output_tokens = tokens};
}

TEST(LoadResult, SumsUp) {
  LoadRun run{
      .rate = 2, .duration = 4, .outcomes = {outcome(0.1, 1.1, 11), outcome(0.3, 0.8, 6), {.error = "refused"}}};
  const auto report =
      load_report(run, {.level = {.ttft = 200, .tpot = 100}, .percentiles = {50, 99, 99.9}, .detailed = true});
  EXPECT_EQ(report["completed"], 2);
  EXPECT_EQ(report["failed"], 1);
  EXPECT_EQ(report["error_counts"]["refused"], 1);
  EXPECT_EQ(report["errors"], Json::parse(R"(["", "", "refused"])"));
  EXPECT_EQ(report["output_lens"], Json::parse("[11, 6, 0]"));
  EXPECT_EQ(report["max_concurrent_requests"], 2);
  EXPECT_NEAR(report["max_output_tokens_per_s"], 5.5 + 6, 1e-9) << "half of the first and all of the second";
  EXPECT_EQ(report["p50_ttft_ms"], report["median_ttft_ms"]);
  EXPECT_GT(report["p99.9_ttft_ms"], report["p99_ttft_ms"]);
  EXPECT_FALSE(report.contains("p95_ttft_ms"));
  EXPECT_EQ(report["total_output_tokens"], 17);
  EXPECT_DOUBLE_EQ(report["request_throughput"], 0.5);
  EXPECT_DOUBLE_EQ(report["request_goodput"], 0.25);
  EXPECT_DOUBLE_EQ(report["output_throughput"], 4.25);
  EXPECT_NEAR(report["mean_ttft_ms"], 200, 1e-9);
  EXPECT_NEAR(report["median_tpot_ms"], 100, 1e-9);
  EXPECT_NEAR(report["p99_e2el_ms"], 1097, 1e-9);
  const auto plain = load_report(run, {.metrics = {"itl"}});
  EXPECT_TRUE(plain["request_goodput"].is_null());
  EXPECT_FALSE(plain.contains("ttfts"));
  EXPECT_FALSE(plain.contains("mean_ttft_ms"));
  EXPECT_TRUE(plain.contains("p95_itl_ms"));
  EXPECT_EQ(load_report({}, {})["mean_ttft_ms"], 0);
  EXPECT_EQ(percentile({1, 2, 3, 4}, 50), 2.5);
  EXPECT_EQ(percentile({5}, 99), 5);
}

TEST(LoadResult, DrawsAPlot) {
  LoadRun slow{.rate = 1, .duration = 4, .outcomes = {outcome(0.1, 1.1, 11)}};
  LoadRun fast{.rate = 4, .duration = 1, .outcomes = {outcome(0.4, 1.4, 11)}};
  const std::string svg = load_plot({load_report(fast, {}), load_report(slow, {})});
  EXPECT_EQ(svg.rfind("<svg ", 0), 0u);
  std::size_t circles = 0;
  for (std::size_t at = svg.find("<circle"); at != std::string::npos; at = svg.find("<circle", at + 1)) ++circles;
  EXPECT_EQ(circles, 8u);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  for (const char* tick : {">3<", ">4<", ">300<", ">400<"}) EXPECT_NE(svg.find(tick), std::string::npos) << tick;
  EXPECT_EQ(svg.find(">5<"), std::string::npos) << "the axes end where the data do";
}

TEST(LoadRunner, SendsEachOnceAndKeepsTheLimit) {
  LoadPlan plan;
  for (int i = 0; i < 50; ++i) {
    plan.requests.push_back({.input = std::to_string(i)});
    plan.times.push_back(0);
  }
  plan.concurrency = 3;
  std::atomic<int> now{0}, most{0};
  std::size_t ended = 0;
  const LoadRun run = run_load(
      plan,
      [&](const LoadRequest& one) {
        const int running = ++now;
        for (int seen = most; running > seen && !most.compare_exchange_weak(seen, running);) {
        }
        LoadOutcome out{.ok = true, .output_tokens = std::stoi(one.input)};
        --now;
        return out;
      },
      [&](std::size_t done) { ended = done; });
  EXPECT_LE(most, 3);
  EXPECT_EQ(ended, 50u);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(run.outcomes[static_cast<std::size_t>(i)].output_tokens, i);
}

}  // namespace
}  // namespace foregate
