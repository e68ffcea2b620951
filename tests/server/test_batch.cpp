// Offline batches: lines, inputs, the output file, and runs over an engine that the test drives.
#include <gtest/gtest.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <sstream>
#include <thread>

#include "engine/api/limits.h"
#include "server/batch/batch_runner.h"
#include "server/batch/batch_summary.h"
#include "server/batch/dry_run.h"
#include "server/batch/speed_probe.h"
#include "server/http/service.h"
#include "tests/server/fake_engine.h"
#include "tests/server/memory_net.h"

namespace foregate {
namespace {

using test::MemoryLoop;
using Json = nlohmann::ordered_json;

struct BatchTest : testing::Test {
  std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("foregate_batch_" + std::to_string(::getpid()));
  void SetUp() override {
    std::filesystem::remove_all(folder);
    std::filesystem::create_directories(folder);
  }
  void TearDown() override { std::filesystem::remove_all(folder); }
  std::string put(const std::string& name, const std::string& bytes) {
    const std::string path = folder / name;
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }
  static std::string get(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
};

std::string line_of(const std::string& custom_id, const std::string& prompt) {
  Json line{{"custom_id", custom_id}, {"method", "POST"}, {"url", "/v1/completions"}};
  line["body"] = Json{{"prompt", prompt}, {"max_tokens", 4}};
  return line.dump();
}

std::string gzip(const std::string& bytes) {
  z_stream state{};
  deflateInit2(&state, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(bytes.size() + 256, '\0');
  state.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  state.avail_in = static_cast<uInt>(bytes.size());
  state.next_out = reinterpret_cast<Bytef*>(out.data());
  state.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&state, Z_FINISH), Z_STREAM_END);
  out.resize(state.total_out);
  deflateEnd(&state);
  return out;
}

std::string zstd(const std::string& bytes) {
  std::string out(ZSTD_compressBound(bytes.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), bytes.data(), bytes.size(), 3));
  return out;
}

Result<std::vector<std::string>> lines_of(std::vector<std::string> paths) {
  LineSource source(std::move(paths));
  RETURN_IF_ERROR(source.check());
  std::vector<std::string> lines;
  while (true) {
    ASSIGN_OR_RETURN(auto line, source.next());
    if (!line) return lines;
    lines.push_back(std::move(*line));
  }
}

TEST_F(BatchTest, FaultsOfALineNameTheMember) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({)", ""},
      {R"([])", ""},
      {R"({"url": "/v1/completions", "body": {}})", "custom_id"},
      {R"({"custom_id": 3, "url": "/v1/completions", "body": {}})", "custom_id"},
      {R"({"custom_id": "a", "method": "GET", "url": "/v1/completions", "body": {}})", "method"},
      {R"({"custom_id": "a", "url": "/metrics", "body": {}})", "url"},
      {R"({"custom_id": "a", "body": {}})", "url"},
      {R"({"custom_id": "a", "url": "/v1/completions"})", "body"},
      {R"({"custom_id": "a", "url": "/v1/completions", "body": []})", "body"},
      {R"({"custom_id": "a", "url": "/v1/completions", "body": {"stream": true}})", "body.stream"}};
  for (const auto& [text, field] : cases) {
    std::string custom_id;
    const auto line = parse_batch_line(text, 0, &custom_id);
    ASSERT_FALSE(line.ok()) << text;
    EXPECT_EQ(line.status().field(), field) << text;
  }
}

TEST_F(BatchTest, SeedsDependOnTheLineAlone) {
  std::string id;
  const auto seed = [&](const std::string& text, std::uint64_t base) {
    return Json::parse(parse_batch_line(text, base, &id)->body)["seed"].get<std::uint64_t>();
  };
  EXPECT_EQ(seed(line_of("a", "x"), 1), seed(line_of("a", "x"), 1));
  EXPECT_NE(seed(line_of("a", "x"), 1), seed(line_of("b", "x"), 1));
  EXPECT_NE(seed(line_of("a", "x"), 1), seed(line_of("a", "x"), 2));
  Json own = Json::parse(line_of("a", "x"));
  own["body"]["seed"] = 7;
  EXPECT_EQ(seed(own.dump(), 1), 7u);
}

TEST_F(BatchTest, LinesOfPlainAndCompressedFiles) {
  std::string text = "one\r\ntwo\n\nlast";
  const std::string big(700'000, 'b');
  const auto plain = put("a", text), packed = put("b", gzip("g1\n") + gzip("g2\n" + big)),
             other = put("c", zstd("z\n"));
  const auto empty = put("d", "");
  auto lines = lines_of({plain, empty, packed, other});
  ASSERT_TRUE(lines.ok()) << lines.status().to_string();
  EXPECT_EQ(*lines, (std::vector<std::string>{"one", "two", "", "last", "g1", "g2", big, "z"}));
}

TEST_F(BatchTest, DamagedInputsAreNamed) {
  std::string many;
  for (int i = 0; i < 5000; ++i) many += std::to_string(i * 7919) + "\n";
  for (const std::string& whole : {gzip(many), zstd(many)}) {
    for (const std::size_t cut : {whole.size() - 1, whole.size() / 2, std::size_t{12}}) {
      const auto path = put("cut", whole.substr(0, cut));
      const auto lines = lines_of({path});
      ASSERT_FALSE(lines.ok()) << cut;
      EXPECT_EQ(lines.status().code(), Code::kDataLoss);
      EXPECT_NE(lines.status().message().find(path), std::string::npos);
    }
  }
  EXPECT_EQ(lines_of({folder / "none"}).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(lines_of({folder}).status().code(), Code::kInvalidArgument);
}

TEST_F(BatchTest, TheOutputIsTakenUpAndOthersAreLeftAlone) {
  const std::string first = batch_answer(1, "a", 200, R"({"id": "x", "created": 5, "timings": {}})", 9);
  EXPECT_EQ(Json::parse(first)["response"]["body"].dump(), R"({"id":"batch_req_1","created":9})");
  const std::string second = batch_fault(2, "", invalid_argument("bad", "url"));
  const auto path = put("out", first + "\n" + second + "\n" + second.substr(0, 20));
  {
    auto output = BatchOutput::open(path);
    ASSERT_TRUE(output.ok()) << output.status().to_string();
    EXPECT_TRUE(output->had("c:a"));
    EXPECT_TRUE(output->had(batch_key(2, "")));
    EXPECT_FALSE(output->has("c:b"));
    EXPECT_EQ(BatchOutput::open(path).status().code(), Code::kUnavailable) << "one writer at a time";
    ASSERT_TRUE(output->append("c:b", "third").ok());
    EXPECT_TRUE(output->has("c:b"));
    EXPECT_FALSE(output->had("c:b"));
  }
  EXPECT_EQ(get(path), first + "\n" + second + "\nthird\n");
  for (const std::string& foreign :
       {std::string("my notes\n"), std::string("my notes"), first + "\nnotes\n" + second}) {
    const auto other = put("foreign", foreign);
    const auto opened = BatchOutput::open(other);
    ASSERT_FALSE(opened.ok()) << foreign;
    EXPECT_EQ(opened.status().code(), Code::kInvalidArgument);
    EXPECT_EQ(get(other), foreign);
  }
}

// A run over an engine that answers every request with its prompt, in an order of its own.
struct BatchRunTest : BatchTest {
  test::FakeParts parts;
  BatchCounts counts;
  int turns = 0;
  std::map<std::uint64_t, char> asked;  // by number of the request: what its prompt begins with

  int changes_of_beginning() const {
    int changes = 0;
    char last = 0;
    for (const auto& [id, first] : asked) changes += first != std::exchange(last, first) ? 1 : 0;
    return changes - 1;
  }

  Status run(const std::string& in, const std::string& out, std::size_t stop_after = 0, BatchOptions options = {}) {
    MemoryLoop loop;
    Metrics metrics;
    Frontend frontend(loop, FrontendOptions{1, 256});  // one worker: requests reach the engine as they were asked
    frontend.set_backend(parts.backend);
    Service service(loop, frontend, ServiceOptions{}, metrics);
    LineSource source({in});
    RETURN_IF_ERROR(source.check());
    asked.clear();
    ASSIGN_OR_RETURN(BatchOutput output, BatchOutput::open(out));
    std::optional<Status> end;
    {
      BatchRunner runner(loop, service.callbacks(), source, output, options,
                         [&](const Status& status) { end = status; });
      runner.start();
      for (int i = 0; i < 20000 && !end; ++i) {
        loop.turn();
        answer_one();
        if (stop_after > 0 && runner.counts().answered >= stop_after) break;  // as if killed
        if (i % 8 == 7) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
      counts = runner.counts();
    }
    frontend.fail_open(unavailable("the test ends"));
    loop.turn();
    std::lock_guard lock(parts.engine->mutex);
    parts.engine->live.clear();
    return end.value_or(Status());
  }

  // The latest request, then the oldest: answers come in another order than lines.
  void answer_one() {
    std::uint64_t id = 0;
    std::string text;
    {
      std::lock_guard lock(parts.engine->mutex);
      const auto& live = parts.engine->live;
      if (live.empty()) return;
      const auto& chosen = ++turns % 2 == 0 ? *live.begin() : *live.rbegin();
      id = chosen.first;
      asked[id] = static_cast<char>(chosen.second.request.prompt.front());
      const Request& request = chosen.second.request;
      text = "<" + parts.tokenizer->decode(request.prompt, false) + std::to_string(*request.sampling.seed % 1000) + ">";
    }
    parts.engine->say(id, 0, text);
    parts.engine->finish(id, 0, FinishReason::kStop, test::kEos);
  }
  static std::vector<Json> parsed(const std::string& text) {
    std::vector<Json> lines;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) lines.push_back(Json::parse(line));
    return lines;
  }
};

TEST_F(BatchRunTest, AnswersEveryLineInOrderWhateverItHolds) {
  std::string input = line_of("a", "pa") + "\n\nnot json\n" + line_of("b", "pb") + "\n";
  input += R"({"custom_id": "c", "url": "/v1/completions", "body": {"prompt": "x", "temperature": -1}})"
           "\n";
  input += line_of("a", "again") + "\n" + R"({"custom_id": "t", "url": "/tokenize", "body": {"prompt": "hi"}})";
  const auto in = put("in", input);
  const std::string out = folder / "out";
  ASSERT_TRUE(run(in, out).ok());
  const auto lines = parsed(get(out));
  ASSERT_EQ(lines.size(), 5u);
  EXPECT_EQ(lines[0]["custom_id"], "a");
  EXPECT_EQ(lines[0]["response"]["status_code"], 200);
  EXPECT_EQ(lines[0]["response"]["body"]["choices"][0]["text"].get<std::string>().substr(0, 3), "<pa");
  EXPECT_EQ(lines[1]["custom_id"], nullptr);
  EXPECT_EQ(lines[1]["error"]["line"], 3);
  EXPECT_EQ(lines[2]["custom_id"], "b");
  EXPECT_EQ(lines[3]["response"]["status_code"], 400);
  EXPECT_EQ(lines[3]["response"]["body"]["error"]["param"], "temperature");
  EXPECT_EQ(lines[4]["response"]["body"]["count"], 2);
  EXPECT_EQ(counts.lines, 6u);
  EXPECT_EQ(counts.answered, 5u);
  EXPECT_EQ(counts.faults, 2u);
  EXPECT_EQ(counts.duplicates, 1u);
}

TEST_F(BatchRunTest, BrokenOffAnywhereItEndsAsAnUnbrokenRun) {
  std::string input;
  for (int i = 0; i < 40; ++i)
    input += i % 9 == 4 ? "fault\n" : line_of("id" + std::to_string(i), "p" + std::to_string(i)) + "\n";
  const auto in = put("in", input);
  const std::string whole = folder / "whole";
  ASSERT_TRUE(run(in, whole).ok());
  const std::string wanted = get(whole);
  ASSERT_EQ(parsed(wanted).size(), 40u);
  for (std::size_t stop = 1; stop < 36; stop += 5) {
    const std::string out = folder / ("out" + std::to_string(stop));
    BatchOptions few;
    few.in_flight = 4;
    ASSERT_TRUE(run(in, out, stop, few).ok());
    EXPECT_LT(parsed(get(out)).size(), 40u);
    ASSERT_TRUE(run(in, out).ok());
    EXPECT_EQ(get(out), wanted) << stop;
    EXPECT_GE(counts.resumed, stop);
  }
  for (std::size_t cut = 0; cut < wanted.size(); cut += 97) {  // torn anywhere
    const auto out = put("torn", wanted.substr(0, cut));
    ASSERT_TRUE(run(in, out).ok());
    ASSERT_EQ(get(out), wanted) << cut;
  }
}

// The answers are those of any order, in the order of the input; lines that begin the same are asked together.
TEST_F(BatchRunTest, AskedByBeginningsTheAnswersAreTheSame) {
  std::string input;
  for (int i = 0; i < 60; ++i) {
    input +=
        i % 11 == 3
            ? "fault\n"
            : line_of("id" + std::to_string(i), std::string(1, "cab"[i % 3]) + " tale " + std::to_string(i)) + "\n";
  }
  const auto in = put("in", input);
  ASSERT_TRUE(run(in, folder / "plain").ok());
  EXPECT_GT(changes_of_beginning(), 35);
  const std::string wanted = get(folder / "plain");
  for (const std::size_t window : {200, 20, 7}) {
    BatchOptions options;
    options.in_flight = 4;
    options.window = window;
    options.by_beginning = true;
    const std::string out = folder / ("sorted" + std::to_string(window));
    ASSERT_TRUE(run(in, out, 0, options).ok());
    EXPECT_EQ(get(out), wanted) << window;
    EXPECT_EQ(counts.answered, 60u);
    if (window == 200) {
      EXPECT_EQ(changes_of_beginning(), 2) << "all of one letter, then all of the next";
    }
    const std::string again = folder / ("again" + std::to_string(window));
    ASSERT_TRUE(run(in, again, 17, options).ok());
    ASSERT_TRUE(run(in, again, 0, options).ok());
    EXPECT_EQ(get(again), wanted) << window;
  }
}

// However many lines begin with what is being asked, an early one with another beginning is not kept waiting.
TEST_F(BatchRunTest, AnEarlyLineIsNotPassedOverForLong) {
  std::string input = line_of("first", "zzz") + "\n";
  for (int i = 0; i < 100; ++i) input += line_of("id" + std::to_string(i), "a" + std::to_string(i)) + "\n";
  const auto in = put("in", input);
  BatchOptions options;
  options.in_flight = 2;
  options.window = 10;
  options.by_beginning = true;
  ASSERT_TRUE(run(in, folder / "out", 0, options).ok());
  ASSERT_EQ(asked.size(), 101u);
  const auto is_first = [](const auto& one) { return one.second == 'z'; };
  const auto first = std::distance(asked.begin(), std::find_if(asked.begin(), asked.end(), is_first));
  EXPECT_GE(first, 5) << "it was passed over until half of the window was held back";
  EXPECT_LE(first, 10);
}

TEST_F(BatchTest, AnAnswerDoesNotTellWhatWasInTheCache) {
  const char* body = R"({"id": "x", "usage": {"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 8}}})";
  const auto answer = Json::parse(batch_answer(1, "a", 200, body, 0));
  EXPECT_EQ(answer["response"]["body"]["usage"], (Json{{"prompt_tokens", 9}}));
}

TEST_F(BatchTest, ALineKnowsWhatItsPromptBeginsWith) {
  std::string id;
  EXPECT_EQ(parse_batch_line(line_of("a", "once upon"), 0, &id)->beginning, "once upon");
  EXPECT_EQ(parse_batch_line(line_of("a", std::string(9000, 'x')), 0, &id)->beginning.size(), kBeginning);
  const auto chat = parse_batch_line(
      R"({"custom_id": "c", "url": "/v1/chat/completions", "body": {"messages": [{"role": "user", "content": "hi"}]}})",
      0, &id);
  EXPECT_EQ(chat->beginning, R"([{"role":"user","content":"hi"}])");
}

TEST_F(BatchTest, TheSummaryCountsTheRunAlone) {
  EngineStats before, after;
  before.steps = 10, after.steps = 14;
  before.generated_tokens = 5, after.generated_tokens = 25;
  before.prefix_queries = 100, after.prefix_queries = 300;
  before.prefix_hits = 0, after.prefix_hits = 50;
  BatchCounts counts;
  counts.lines = counts.answered = 2;
  counts.prompt_tokens = 80;
  counts.completion_tokens = 20;
  const std::string plain = batch_summary(counts, before, after, 2.0);
  EXPECT_NE(plain.find("2 lines: 2 answered"), std::string::npos) << plain;
  EXPECT_NE(plain.find("50.0 tokens/s"), std::string::npos) << plain;
  EXPECT_NE(plain.find("4 steps, 5.0 completion tokens each; 25.0 % of"), std::string::npos) << plain;
  EXPECT_EQ(plain.find("experts"), std::string::npos) << plain;
  before.experts.emplace();
  after.experts.emplace();
  before.experts->loaded_bytes = 1'000'000, after.experts->loaded_bytes = 11'000'000;
  before.experts->hits = 5, after.experts->hits = 8, after.experts->misses = 9;
  before.experts->sweeps = 1, after.experts->sweeps = 9;
  after.experts->repeated_loads = 2;
  const std::string text = batch_summary(counts, before, after, 2.0);
  EXPECT_NE(text.find("0.010 GB read, 0.100 MB for each token and 0.500 MB for each completion token; 25.0 % found in "
                      "memory, 8 layers swept, 2 loads repeated"),
            std::string::npos)
      << text;
}

TEST_F(BatchRunTest, NoMoreThanAllowedAreUnderWay) {
  std::string input;
  for (int i = 0; i < 30; ++i) input += line_of("id" + std::to_string(i), "p") + "\n";
  const auto in = put("in", input);
  BatchOptions options;
  options.in_flight = 3;
  options.window = 5;
  ASSERT_TRUE(run(in, folder / "out", 0, options).ok());
  EXPECT_EQ(counts.answered, 30u);
  EXPECT_EQ(parsed(get(folder / "out")).size(), 30u);
}

TEST_F(BatchTest, ALineBeyondTheLimitIsSkippedAndTheNextOneIsRead) {
  LineSource source({put("long", "a\n" + std::string(kMaxBatchLineBytes + 1, 'x') + "\nb\n")});
  ASSERT_TRUE(source.check().ok());
  EXPECT_EQ(**source.next(), "a");
  EXPECT_EQ(source.next().status().code(), Code::kInvalidArgument);
  EXPECT_EQ(**source.next(), "b");
  EXPECT_FALSE(source.next()->has_value());
}

TEST_F(BatchRunTest, ADryRunCountsAndAsksNothing) {
  const auto in = put("in", line_of("a", "abc") + "\nbad\n" + line_of("b", "de"));
  LineSource source({in});
  auto counted = dry_run(source, parts.backend->context, 0);
  ASSERT_TRUE(counted.ok());
  EXPECT_EQ(counted->requests, 3u);
  EXPECT_EQ(counted->prompt_tokens, 5u);
  EXPECT_EQ(counted->most_completion_tokens, 8u);
  EXPECT_EQ(counted->fault_count, 1u);
  EXPECT_NE(dry_run_text(*counted).find("line 2"), std::string::npos);
  EXPECT_EQ(parts.engine->last_id(), 0u);
}

// Answers once `expected` requests are there, as one batch would.
class AnsweringEngine final : public test::HandEngine {
 public:
  explicit AnsweringEngine(std::size_t expected) : expected_(expected) {}
  Status submit(Request request, std::shared_ptr<EventSink> sink) override {
    prompts.insert(request.prompt);
    EXPECT_TRUE(request.sampling.ignore_eos);
    RETURN_IF_ERROR(HandEngine::submit(std::move(request), std::move(sink)));
    if (order.size() < expected_) return {};
    const auto ids = order;
    for (const auto id : ids) say(id, 0, "a");
    for (const auto id : ids) say(id, 0, "bc");
    for (const auto id : ids) finish(id, 0, error.ok() ? FinishReason::kLength : FinishReason::kError, -1, error);
    return {};
  }
  std::set<std::vector<Token>> prompts;
  Status error;

 private:
  std::size_t expected_;
};

TEST(SpeedProbe, AsksWhatTheBatchWouldAskTogether) {
  const DryRun counted{
      .requests = 4, .prompt_tokens = 45, .most_completion_tokens = 90, .fault_count = 1, .faults = {}};
  AnsweringEngine few(2), all(3), broken(3);
  const auto speed = probe_speed(few, counted, 2);
  ASSERT_TRUE(speed.ok());
  EXPECT_EQ(speed.value().samples, 2);
  EXPECT_GT(speed.value().prompt_tokens_per_second, 0);
  EXPECT_GT(speed.value().completion_tokens_per_second, 0);
  EXPECT_EQ(few.prompts.size(), 2u) << "no prefix is shared";
  for (const auto& prompt : few.prompts) EXPECT_EQ(prompt.size(), 15u);
  EXPECT_EQ(probe_speed(all, counted, 8)->samples, 3) << "as many as can be answered";
  broken.error = Status(Code::kDataLoss, "a damaged expert");
  EXPECT_EQ(probe_speed(broken, counted, 8).status().message(), "a damaged expert");
  AnsweringEngine full(3);
  full.refuse = unavailable("draining");
  EXPECT_EQ(probe_speed(full, counted, 8).status().code(), Code::kUnavailable);
  EXPECT_FALSE(probe_speed(full, {.requests = 1, .fault_count = 1, .faults = {}}, 8).ok());
  EXPECT_EQ(estimate_text(counted, {9, 10, 3}),
            "at most about 14.0 s: 9 prompt and 10 completion tokens a second, measured with 3 at a time\n");
}

}  // namespace
}  // namespace foregate
