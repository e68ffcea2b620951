// What is told of requests: trace ids of callers, spans, and lines of the log in both forms.
#include <gtest/gtest.h>

#include <fstream>
#include <map>

#include "server/generate/request_report.h"
#include "tests/server/service_fixture.h"

namespace foregate {
namespace {

using namespace test;

constexpr const char* kTrace = "0af7651916cd43dd8448eb211c80319c";
const std::string kParent = std::string("00-") + kTrace + "-b7ad6b7169203331-01";

TEST(TraceParentTest, IsReadAsTheStandardHasIt) {
  const TraceParent parsed = parse_traceparent(kParent);
  EXPECT_EQ(parsed.trace_id, kTrace);
  EXPECT_EQ(parsed.parent_id, "b7ad6b7169203331");
  EXPECT_TRUE(parsed.sampled);
  EXPECT_FALSE(parse_traceparent(kParent.substr(0, 53) + "00").sampled);
  EXPECT_EQ(parse_traceparent("cc" + kParent.substr(2) + "-more").trace_id, kTrace) << "of a later version";
  for (const std::string& bad :
       {std::string(), kParent.substr(1), kParent + "-x", "ff" + kParent.substr(2), "0" + kParent,
        "00-" + std::string(32, '0') + kParent.substr(35), kParent.substr(0, 36) + std::string(16, '0') + "-01",
        std::string("00-0AF7651916CD43DD8448EB211C80319C") + kParent.substr(35), std::string(55, '-'),
        "cc" + kParent.substr(2) + "more"}) {
    EXPECT_EQ(parse_traceparent(bad).trace_id, "") << bad;
  }
}

TEST(LogText, BothFormsHoldTheSameAndEveryLineIsWhole) {
  const LogFields fields = {{"id", std::string("a\"b\n\x80")}, {"n", std::int64_t{3}}, {"ms", 1.5}};
  EXPECT_EQ(log_text(LogFormat::kText, "ended", fields), "ended id=\"a\\\"b\\x0a\\x80\" n=3 ms=1.5");
  const Json json = Json::parse("{" + log_text(LogFormat::kJson, "said \"x\"\r\n", fields) + "}");
  EXPECT_EQ(json["message"], "said \"x\"\r\n");
  EXPECT_EQ(json["n"], 3);
  EXPECT_EQ(json["ms"], 1.5);
  EXPECT_EQ(json["id"], "a\"b\n\xc2\x80");
}

TEST(LogText, TheLoggerWritesOneObjectALine) {
  testing::internal::CaptureStderr();
  set_log_format(LogFormat::kJson);
  log_warn("first \x01 {} %v");
  log_fields(LogLevel::kInfo, "second", {{"k", std::string("v")}});
  set_log_format(LogFormat::kText);
  log_warn("third");
  std::istringstream lines(testing::internal::GetCapturedStderr());
  std::string text;
  std::vector<Json> objects;
  while (std::getline(lines, text) && text.front() == '{') objects.push_back(Json::parse(text));
  ASSERT_EQ(objects.size(), 2u) << text;
  EXPECT_EQ(objects[0]["level"], "warning");
  EXPECT_EQ(objects[0]["message"], "first \x01 {} %v");
  EXPECT_EQ(objects[1]["k"], "v");
  EXPECT_NE(text.find("third"), std::string::npos);
}

struct ReportTest : ServiceTest {
  std::vector<LogFields> lines;
  std::vector<Span> spans;
  void listen() {
    start();
    frontend->set_report([this](const GenerationEnd& end) {
      lines.push_back(request_fields(end));
      spans.push_back(request_span(end, 5'000'000'000'000));
    });
  }
  static std::string text_of(const LogFields& fields, std::string_view name) {
    for (const auto& [key, value] : fields) {
      if (key == name)
        return std::holds_alternative<std::string>(value) ? std::get<std::string>(value)
                                                          : log_text(LogFormat::kText, "", {{"", value}}).substr(2);
    }
    return "";
  }
};

TEST_F(ReportTest, EveryGenerationIsToldOnceHoweverItEnds) {
  listen();
  auto whole = connect();
  const auto id =
      submit(whole, post("/v1/completions", R"({"prompt": "secret", "n": 2})", "traceparent: " + kParent + "\r\n"));
  loop.advance(0.5);
  parts.engine->say(id, 0, "answer");
  parts.engine->finish(id, 0, FinishReason::kStop, kEos);
  loop.advance(1);
  parts.engine->finish(id, 1, FinishReason::kLength);
  loop.turn();
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(text_of(lines[0], "id"), body_of(whole->received)["id"]);
  EXPECT_EQ(text_of(lines[0], "trace_id"), kTrace);
  EXPECT_EQ(text_of(lines[0], "status"), "ok");
  EXPECT_EQ(text_of(lines[0], "finish"), "length:1,stop:1");
  EXPECT_EQ(text_of(lines[0], "prompt_tokens"), "6");
  EXPECT_EQ(text_of(lines[0], "total_ms"), "1500");
  EXPECT_EQ(text_of(lines[0], "first_token_ms"), "500");
  EXPECT_EQ(log_text(LogFormat::kJson, "", lines[0]).find("secret"), std::string::npos);
  auto gone = connect();
  submit(gone, post("/v1/chat/completions", kStream));
  gone->hang_up();
  loop.turn();
  auto failed = connect();
  const auto bad =
      submit(failed, post("/v1/messages", R"({"max_tokens": 4, "messages": [{"role": "user", "content": "hi"}]})"));
  parts.engine->finish(bad, 0, FinishReason::kError, -1, internal_error("the step failed"));
  loop.turn();
  parts.engine->refuse = resource_exhausted("full");
  const auto refused = ask(post("/v1/chat/completions", kChat));
  ASSERT_TRUE(loop.turn_until([&] { return !refused->received.empty(); }));
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(text_of(lines[1], "status"), code_name(Code::kCancelled));
  EXPECT_EQ(text_of(lines[2], "status"), code_name(Code::kInternal));
  EXPECT_EQ(text_of(lines[3], "status"), code_name(Code::kResourceExhausted));
  EXPECT_EQ(text_of(lines[1], "trace_id"), "");
}

TEST_F(ReportTest, SpansAreLinesThatCollectorsRead) {
  listen();
  auto connection = connect();
  const auto id = submit(connection, post("/v1/completions", R"({"prompt": "secret", "max_tokens": 5})",
                                          "traceparent: " + kParent + "\r\n"));
  parts.engine->say(id, 0, "ab");
  loop.advance(2);
  parts.engine->finish(id, 0, FinishReason::kStop, kEos);
  loop.turn();
  ASSERT_EQ(spans.size(), 1u);
  const Json line = Json::parse(span_line(spans[0], "1.2"));
  const Json span = line["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
  EXPECT_EQ(span["traceId"], kTrace);
  EXPECT_EQ(span["parentSpanId"], "b7ad6b7169203331");
  EXPECT_EQ(span["spanId"].get<std::string>().size(), 16u);
  EXPECT_EQ(span["startTimeUnixNano"], "4998000000000");
  EXPECT_EQ(span["endTimeUnixNano"], "5000000000000");
  std::map<std::string, Json> attributes;
  for (const Json& one : span["attributes"]) attributes[one["key"]] = one["value"];
  EXPECT_EQ(attributes["gen_ai.usage.completion_tokens"]["intValue"], "3");
  EXPECT_EQ(attributes["gen_ai.request.max_tokens"]["intValue"], "5");
  EXPECT_EQ(attributes["gen_ai.latency.e2e"]["doubleValue"], 2.0);
  EXPECT_EQ(line.dump().find("secret"), std::string::npos);
  Span own;
  const std::string first = span_line(own, "1"), second = span_line(own, "1");
  EXPECT_NE(first, second) << "a trace of its own for each";
}

TEST(SpanFileTest, KeepsAllThatWasWrittenBeforeItsEnd) {
  const std::string path = testing::TempDir() + "spans.jsonl";
  std::remove(path.c_str());
  Metrics metrics;
  for (int run = 0; run < 2; ++run) {
    auto file = SpanFile::open(path, "1", metrics);
    ASSERT_TRUE(file.ok());
    for (int i = 0; i < 100; ++i) (*file)->write(Span{});
  }
  std::ifstream in(path);
  int lines = 0;
  for (std::string text; std::getline(in, text); ++lines) EXPECT_TRUE(Json::parse(text).contains("resourceSpans"));
  EXPECT_EQ(lines, 200);
  EXPECT_EQ(metrics.counter("foregate_spans_written", "").value(), 200);
  EXPECT_EQ(SpanFile::open("/nonexistent/spans", "1", metrics).status().field(), "--span-file");
}

}  // namespace
}  // namespace foregate
