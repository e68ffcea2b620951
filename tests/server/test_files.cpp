// /v1/files and /v1/batches over the in-memory network: uploads, lists, owners, runs, cancels, restarts, limits.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "server/files/file_service.h"
#include "server/files/form.h"
#include "tests/server/service_fixture.h"

namespace foregate {
namespace {

using namespace test;

std::string form_body(const std::string& content, const std::string& purpose = "batch") {
  return "--XX\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\n" + purpose +
         "\r\n--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"in.jsonl\"\r\n"
         "Content-Type: application/octet-stream\r\n\r\n" +
         content + "\r\n--XX--\r\n";
}

std::string line(const std::string& id, const std::string& prompt, const std::string& more = "") {
  return R"({"custom_id": ")" + id + R"(", "method": "POST", "url": "/v1/completions", "body": {"prompt": ")" + prompt +
         "\"" + more + "}}\n";
}

struct FilesTest : ServiceTest {
  std::string folder = testing::TempDir() + "files_" + testing::UnitTest::GetInstance()->current_test_info()->name();
  FileOptions options;
  std::unique_ptr<FileService> files;

  void SetUp() override {
    std::filesystem::remove_all(folder);
    options.folder = folder;
    service_options.max_file_bytes = 1u << 20;
    http_options.reader.body_bytes = 1u << 20;
    http_options.max_body_bytes = 1u << 16;
  }
  void open() {
    start();
    const auto client_of = [](const std::string& owner) -> std::uint64_t { return owner.empty() ? 0 : 1; };
    auto opened = FileService::open(loop, *frontend, service->callbacks(), client_of, options, metrics);
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    files = std::move(opened).value();
    service->set_files(files.get());
  }
  void close() {
    http.reset();
    files.reset();
    parts.engine->live.clear();
    service.reset();
    frontend.reset();
    loop.turn();
  }
  void TearDown() override {
    close();
    std::filesystem::remove_all(folder);
  }
  Json say(const std::string& request, const std::string& status = "200") {
    const auto connection = ask(request);
    EXPECT_TRUE(loop.turn_until([&] { return !connection->received.empty(); })) << request;
    loop.turn();
    EXPECT_EQ(connection->received.substr(9, 3), status) << connection->received;
    return body_of(connection->received);
  }
  std::string upload_request(const std::string& body, const std::string& headers = "") {
    return post("/v1/files", body, headers + "Content-Type: multipart/form-data; boundary=XX\r\n");
  }
  std::string upload(const std::string& content, const std::string& headers = "") {
    return say(upload_request(form_body(content), headers))["id"].get<std::string>();
  }
  std::string begin_batch(const std::string& file, const std::string& headers = "") {
    const Json body = {{"input_file_id", file}, {"endpoint", "/v1/completions"}, {"completion_window", "24h"}};
    return say(post("/v1/batches", body.dump(), headers))["id"].get<std::string>();
  }
  Json batch(const std::string& id) { return say(get("/v1/batches/" + id)); }
  // Answers what the engine has with its prompt, until the batch has this status.
  Json until(const std::string& id, const std::string& status, int most_answers = 1000) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);  // a busy disk takes seconds to sync
    while (std::chrono::steady_clock::now() < end) {
      const Json now = batch(id);
      if (now["status"] == status) return now;
      if (most_answers > 0 && answer_one()) --most_answers;
      loop.advance(0.3);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    ADD_FAILURE() << "not " << status << ": " << batch(id).dump();
    return {};
  }
  bool answer_one() {
    std::uint64_t id = 0;
    std::string text;
    {
      std::lock_guard lock(parts.engine->mutex);
      if (parts.engine->live.empty()) return false;
      id = parts.engine->live.begin()->first;
      text = "<" + parts.tokenizer->decode(parts.engine->live.begin()->second.request.prompt, false) + ">";
    }
    parts.engine->say(id, 0, text);
    parts.engine->finish(id, 0, FinishReason::kStop, kEos);
    loop.turn();
    return true;
  }
  std::string content(const std::string& id) {
    const auto connection = ask(get("/v1/files/" + id + "/content"));
    loop.turn();
    const std::string raw = connection->received.substr(connection->received.find("\r\n\r\n") + 4);
    std::string text;
    for (std::size_t at = 0; at < raw.size();) {
      const std::size_t size = std::stoul(raw.substr(at), nullptr, 16);
      at = raw.find("\r\n", at) + 2;
      text += raw.substr(at, size);
      at += size + 2;
    }
    return text;
  }
};

TEST_F(FilesTest, AFileIsKeptListedReadAndDeleted) {
  open();
  const std::string text = line("a", "x") + std::string(300000, ' ') + "\n";
  const Json file = say(upload_request(form_body(text)));
  EXPECT_EQ(file["bytes"], text.size());
  EXPECT_EQ(file["filename"], "in.jsonl");
  EXPECT_FALSE(file.contains("owner"));
  const std::string id = file["id"].get<std::string>();
  EXPECT_EQ(say(get("/v1/files/" + id)), file);
  EXPECT_EQ(content(id), text) << "piece by piece, and whole";
  loop.advance(1);
  const std::string later = upload(line("b", "y"));
  const Json list = say(get("/v1/files"));
  EXPECT_EQ(list["data"].size(), 2u);
  EXPECT_FALSE(list["has_more"].get<bool>());
  const Json first = say(get("/v1/files?limit=1&order=asc"));
  EXPECT_TRUE(first["has_more"].get<bool>());
  EXPECT_EQ(say(get("/v1/files?order=asc&after=" + first["last_id"].get<std::string>()))["data"].size(), 1u);
  EXPECT_EQ(say(get("/v1/files?purpose=batch_output"))["data"].size(), 0u);
  for (const char* bad : {"limit=0", "limit=x", "limit=", "order=up", "purpose=all", "after=none"}) {
    say(get(std::string("/v1/files?") + bad), "400");
  }
  close();
  std::ofstream(folder + "/files/file-torn") << "half of an upload";
  open();
  EXPECT_EQ(say(get("/v1/files/" + id)), file) << "a restart forgets nothing";
  EXPECT_FALSE(std::filesystem::exists(folder + "/files/file-torn")) << "and keeps no halves";
  EXPECT_EQ(say("DELETE" + get("/v1/files/" + id).substr(3))["deleted"], true);
  say(get("/v1/files/" + id), "404");
  say(get("/v1/files/" + id + "/content"), "404");
  EXPECT_FALSE(std::filesystem::exists(folder + "/files/" + id));
  EXPECT_EQ(say(get("/v1/files"))["data"].size(), 1u);
}

TEST_F(FilesTest, UploadsOutsideTheirBoundsAreRefused) {
  options.store.file_bytes = 1000;
  options.store.total_bytes = 3000;
  options.store.files = 2;
  open();
  EXPECT_EQ(say(upload_request(form_body("x", "fine-tune")), "400")["error"]["param"], "purpose");
  EXPECT_EQ(say(upload_request(form_body("")), "400")["error"]["param"], "file");
  EXPECT_EQ(say(upload_request(form_body("\x1f\x8b packed")), "400")["error"]["param"], "file");
  EXPECT_EQ(say(upload_request(form_body(std::string(1001, 'x'))), "400")["error"]["param"], "file");
  EXPECT_EQ(say(upload_request(form_body(std::string(4000, 'x'))), "400")["error"]["param"], "file");
  for (const std::string& broken : {std::string("nothing"), std::string("--XX"), std::string("--XX\r\n\r\n"),
                                    std::string("--XX\r\nA: b\r\n\r\nx\r\n--XX--"), form_body("x").substr(0, 150)}) {
    say(upload_request(broken), "400");
  }
  say(post("/v1/files", form_body("x"), "Content-Type: multipart/form-data\r\n"), "400");
  say(post("/v1/files", form_body("x"), "Content-Type: application/json\r\n"), "415");
  EXPECT_EQ(ask(upload_request(std::string((1u << 20) + 1, 'x')))->received.substr(9, 3), "413");
  EXPECT_EQ(ask(post("/v1/completions", std::string((1u << 16) + 1, 'x')))->received.substr(9, 3), "413")
      << "other routes keep their own limit";
  upload("one");
  upload("two");
  EXPECT_NE(say(upload_request(form_body("three")), "400")["error"]["message"].get<std::string>().find("2 files"),
            std::string::npos);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder + "/files"), {}), 4)
      << "nothing is left of others";
}

TEST_F(FilesTest, AFolderBelongsToOneServer) {
  open();
  const auto again = FileService::open(loop, *frontend, service->callbacks(), {}, options, metrics);
  EXPECT_EQ(again.status().field(), "--files-dir");
  options.folder = "/proc/nowhere";
  EXPECT_EQ(FileService::open(loop, *frontend, service->callbacks(), {}, options, metrics).status().field(),
            "--files-dir");
}

TEST_F(FilesTest, EveryKeySeesItsOwn) {
  service_options.api_keys = {"one", "two"};
  open();
  const std::string one = "Authorization: Bearer one\r\n", two = "Authorization: Bearer two\r\n";
  const std::string file = upload(line("a", "x"), one);
  const std::string id = begin_batch(file, one);
  EXPECT_EQ(say(get("/v1/files", two))["data"].size(), 0u);
  EXPECT_EQ(say(get("/v1/batches", two))["data"].size(), 0u);
  for (const char* path : {"/v1/files/", "/v1/batches/"}) {
    say(get(path + (path[4] == 'f' ? file : id), two), "404");
    say(get(path + (path[4] == 'f' ? file : id), one));
  }
  say("DELETE" + get("/v1/files/" + file, two).substr(3), "404");
  say(post("/v1/batches/" + id + "/cancel", "", two), "404");
  const Json body = {{"input_file_id", file}, {"endpoint", "/v1/completions"}, {"completion_window", "24h"}};
  EXPECT_EQ(say(post("/v1/batches", body.dump(), two), "400")["error"]["param"], "input_file_id");
}

TEST_F(FilesTest, ABatchRunsAndItsAnswersArePartedByWhatBecameOfThem) {
  open();
  const std::string file = upload(line("a", "pa") + "\n" + line("hot", "x", ", \"temperature\": -1") + line("b", "pb"));
  const std::string id = begin_batch(file);
  say("DELETE" + get("/v1/files/" + file).substr(3), "409");
  const Json done = until(id, "completed");
  EXPECT_EQ(done["request_counts"], (Json{{"total", 3}, {"completed", 2}, {"failed", 1}}));
  for (const char* time : {"in_progress_at", "finalizing_at", "completed_at"})
    EXPECT_TRUE(done[time].is_number()) << time;
  std::istringstream answers(content(done["output_file_id"].get<std::string>()));
  std::vector<Json> lines;
  for (std::string text; std::getline(answers, text);) lines.push_back(Json::parse(text));
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0]["custom_id"], "a");
  EXPECT_EQ(lines[0]["response"]["body"]["choices"][0]["text"], "<pa>");
  EXPECT_EQ(lines[1]["custom_id"], "b");
  const Json failed = Json::parse(content(done["error_file_id"].get<std::string>()));
  EXPECT_EQ(failed["custom_id"], "hot");
  EXPECT_EQ(failed["response"]["body"]["error"]["param"], "temperature");
  EXPECT_EQ(say(get("/v1/files?purpose=batch_output"))["data"].size(), 2u);
  say(post("/v1/batches/" + id + "/cancel", ""), "409");
  say("DELETE" + get("/v1/files/" + file).substr(3));
  EXPECT_EQ(metrics.counter("foregate_batches_ended", "", {{"status", "completed"}}).value(), 1);
}

TEST_F(FilesTest, AFileWithAFaultRunsNoLine) {
  options.batches.input = {3, 200};
  open();
  const std::pair<std::string, const char*> cases[] = {
      {line("a", "x") + "not json\n", "invalid_request"},
      {line("a", "x") + line("a", "y"), "duplicate_custom_id"},
      {R"({"custom_id": "a", "url": "/v1/chat/completions", "body": {}})", "mismatched_endpoint"},
      {line("a", std::string(200, 'x')), "line_too_long"},
      {line("a", "x") + line("b", "x") + line("c", "x") + line("d", "x"), "too_many_lines"},
      {"\n  \n", "empty_file"}};
  for (const auto& [text, code] : cases) {
    const Json failed = until(begin_batch(upload(text)), "failed");
    EXPECT_EQ(failed["errors"]["data"][0]["code"], code) << text;
    EXPECT_EQ(failed["output_file_id"], nullptr);
  }
  EXPECT_TRUE(parts.engine->order.empty());
}

TEST_F(FilesTest, BadBatchesAreNamed) {
  options.batches.open = 1;
  open();
  const std::string file = upload(line("a", "x"));
  const Json good = {{"input_file_id", file}, {"endpoint", "/v1/completions"}, {"completion_window", "24h"}};
  const std::pair<const char*, Json> cases[] = {{"input_file_id", "file-none"},        {"input_file_id", 1},
                                                {"input_file_id", "../../etc/passwd"}, {"endpoint", "/v1/embeddings"},
                                                {"completion_window", "1h"},           {"metadata", 1},
                                                {"metadata", Json::object({{"a", 1}})}};
  for (const auto& [field, value] : cases) {
    Json body = good;
    body[field] = value;
    EXPECT_EQ(say(post("/v1/batches", body.dump()), "400")["error"]["param"], field);
  }
  say(post("/v1/batches", "[]"), "400");
  say(get("/v1/batches/batch_none"), "404");
  begin_batch(file);
  say(post("/v1/batches", good.dump()), "429");
}

TEST_F(FilesTest, ACancelledBatchKeepsTheAnswersItHas) {
  options.batches.in_flight = 2;
  open();
  std::string text;
  for (int i = 0; i < 20; ++i) text += line("id" + std::to_string(i), "p" + std::to_string(i));
  const std::string file = upload(text);
  const std::string id = begin_batch(file), second = begin_batch(file);
  until(id, "in_progress");
  for (int i = 0; i < 4; ++i) {
    ASSERT_TRUE(loop.turn_until([&] { return answer_one(); }));
  }
  EXPECT_EQ(say(post("/v1/batches/" + second + "/cancel", ""))["status"], "cancelled") << "it has not begun";
  EXPECT_EQ(say(post("/v1/batches/" + id + "/cancel", ""))["status"], "cancelling");
  const Json done = until(id, "cancelled");
  const int completed = done["request_counts"]["completed"].get<int>();
  EXPECT_GE(completed, 4);
  EXPECT_LT(completed, 20);
  EXPECT_EQ(done["request_counts"]["total"], 20);
  EXPECT_EQ(count(content(done["output_file_id"].get<std::string>()), "\n"), static_cast<std::size_t>(completed));
  EXPECT_TRUE(parts.engine->idle());
}

TEST_F(FilesTest, ABatchThatAStopBrokeOffEndsAsOneThatRanThrough) {
  options.batches.in_flight = 3;
  std::string text, wanted;
  for (int i = 0; i < 25; ++i) text += line("id" + std::to_string(i), "p" + std::to_string(i));
  open();
  const std::string file = upload(text);
  wanted = content(until(begin_batch(file), "completed")["output_file_id"].get<std::string>());
  ASSERT_EQ(count(wanted, "\n"), 25u);
  for (const int answers : {0, 1, 7, 24}) {
    const std::string id = begin_batch(file);
    until(id, "in_progress", 0);
    for (int i = 0; i < answers; ++i) {
      ASSERT_TRUE(loop.turn_until([&] { return answer_one(); }));
    }
    if (answers == 7) {  // a drain; the others are killed
      files->begin_drain();
      frontend->begin_drain();
      parts.engine->refuse = {};
      while (answer_one()) {
      }
    }
    close();
    open();
    const Json done = until(id, "completed");
    EXPECT_EQ(done["request_counts"]["completed"], 25);
    EXPECT_EQ(content(done["output_file_id"].get<std::string>()), wanted) << answers;
  }
}

TEST_F(FilesTest, ABatchThatWasSeenToEndHasEndedAfterAStopToo) {
  open();
  const std::string file = upload(line("a", "x") + line("b", "y"));
  for (const char* status : {"completed", "failed", "cancelled"}) {
    SCOPED_TRACE(status);
    const std::string id = begin_batch(status == std::string("failed") ? upload("no line\n") : file);
    if (status == std::string("cancelled")) {
      until(id, "in_progress", 0);
      say(post("/v1/batches/" + id + "/cancel", ""));
    }
    const Json shown = until(id, status);
    const std::size_t asked = parts.engine->order.size();
    close();
    open();
    EXPECT_EQ(batch(id), shown);
    for (int i = 0; i < 20; ++i) loop.advance(0.3);
    EXPECT_EQ(batch(id), shown);
    EXPECT_EQ(parts.engine->order.size(), asked) << "nothing is asked again";
  }
}

TEST_F(FilesTest, ABatchThatTakesTooLongExpires) {
  open();
  const std::string file = upload(line("a", "x") + line("b", "y"));
  const std::string id = begin_batch(file);
  until(id, "in_progress", 0);
  close();
  const std::string path = folder + "/batches/" + id + ".json";
  std::ifstream in(path);
  Json record = Json::parse(in);
  record["created_at"] = record["created_at"].get<std::int64_t>() - 25 * 3600;
  std::ofstream(path, std::ios::trunc) << record.dump();
  open();
  EXPECT_EQ(until(id, "expired")["request_counts"]["completed"], 0);
}

TEST_F(FilesTest, AReaderThatIsSlowGetsTheWholeFile) {
  open();
  std::string text;
  while (text.size() < 900000) text += line("id" + std::to_string(text.size()), "x");
  const std::string id = upload(text);
  auto connection = connect();
  connection->window = 1000;
  connection->send(get("/v1/files/" + id + "/content"));
  loop.turn();
  EXPECT_EQ(connection->received.size(), 1000u);
  for (int i = 0; i < 300 && connection->received.find("0\r\n\r\n") == std::string::npos; ++i) {
    connection->allow(7000);
    loop.turn();
  }
  EXPECT_EQ(connection->received.substr(connection->received.size() - 5), "0\r\n\r\n");
  EXPECT_GT(connection->received.size(), text.size());
  EXPECT_FALSE(connection->closed);
}

TEST(Form, ReadsPartsAndRefusesWhatIsNone) {
  const std::string type = "multipart/form-data; charset=utf-8; boundary=\"a b\"";
  const std::string body =
      "preamble\r\n--a b\r\ncontent-disposition: form-data; name=x\r\n\r\n1\r\n--a b\r\n"
      "Content-Type: text/plain\r\nContent-Disposition: form-data; filename=\"a\\\"b;c\"; name=\"y\"\r\n\r\n"
      "two\r\nlines\r\n--a\r\n\r\n--a b--\r\nepilogue";
  auto parts = parse_form(type, body);
  ASSERT_TRUE(parts.ok()) << parts.status().message();
  ASSERT_EQ(parts->size(), 2u);
  EXPECT_EQ((*parts)[0].name, "x");
  EXPECT_EQ((*parts)[0].body, "1");
  EXPECT_EQ((*parts)[1].filename, "a\"b;c");
  for (std::size_t cut = 0; cut < body.size() - 14; ++cut)
    EXPECT_FALSE(parse_form(type, body.substr(0, cut)).ok()) << cut;
  std::string many;
  for (std::size_t i = 0; i <= kMaxFormParts; ++i) many += "--b\r\nContent-Disposition: form-data; name=x\r\n\r\n\r\n";
  EXPECT_FALSE(parse_form("multipart/form-data; boundary=b", many + "--b--").ok());
}

}  // namespace
}  // namespace foregate
