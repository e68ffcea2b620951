// The gRPC front over loopback with an engine that the test drives: the loop runs on a thread of its own.
#include <foregate/v1/inference.grpc.pb.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <thread>

#include "engine/api/limits.h"
#include "server/grpc/grpc_server.h"
#include "server/net/tcp.h"
#include "tests/server/fake_engine.h"
#include "tests/server/quick_loop.h"

namespace foregate {
namespace {

using namespace std::chrono_literals;
using Stub = v1::Inference::Stub;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr auto kSoon = 5000ms;  // a request takes long to reach the engine
#else
constexpr auto kSoon = 400ms;
#endif

// Waits up to ten seconds.
bool eventually(const std::function<bool()>& holds) {
  for (int i = 0; i < 5000; ++i) {
    if (holds()) return true;
    std::this_thread::sleep_for(2ms);
  }
  return false;
}

std::string field_of(const grpc::ClientContext& context) {
  const auto& trailing = context.GetServerTrailingMetadata();
  const auto found = trailing.find("foregate-field");
  return found == trailing.end() ? "" : std::string(found->second.data(), found->second.size());
}

// Whether the server said when to come back.
bool says_when(const grpc::ClientContext& context) {
  return context.GetServerTrailingMetadata().count("grpc-retry-pushback-ms") == 1;
}

// What one Generate call gave, read on a thread of its own.
struct Call {
  grpc::ClientContext context;
  std::vector<v1::GenerateResponse> messages;
  grpc::Status status;
  std::thread reader;
  std::atomic<bool> ended{false};
  ~Call() {
    if (reader.joinable()) reader.join();
  }
  void wait() {
    if (reader.joinable()) reader.join();
  }
  std::string text(int index = 0) const {
    std::string all;
    for (const auto& message : messages) {
      if (message.index() == index) all += message.text();
    }
    return all;
  }
};

struct GrpcTest : testing::Test {
  std::unique_ptr<TcpLoop> loop = make_tcp_loop();
  test::QuickLoop quick{*loop};
  Metrics metrics;
  test::FakeParts parts;
  GrpcOptions options;
  std::unique_ptr<Frontend> frontend;
  std::unique_ptr<GrpcServer> server;
  std::unique_ptr<Stub> stub;
  std::thread loop_thread;

  void start(bool loaded = true) {
    frontend = std::make_unique<Frontend>(quick, FrontendOptions{});
    if (loaded) frontend->set_backend(parts.backend);
    auto made = GrpcServer::start(quick, *frontend, options, metrics);
    ASSERT_TRUE(made.ok()) << made.status().to_string();
    server = std::move(made).value();
    const std::string address = "127.0.0.1:" + std::to_string(server->port());
    stub = v1::Inference::NewStub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
    loop_thread = std::thread([this] { loop->run(); });
  }
  void TearDown() override {
    if (!server) return;
    loop->stop();
    loop_thread.join();
    frontend->fail_open(unavailable("the test ends"));
    server->begin_shutdown();
    while (!server->stopped()) {
      loop->run_ready();
      std::this_thread::sleep_for(1ms);
    }
    loop->run_ready();
    server = nullptr;
    {
      std::lock_guard lock(parts.engine->mutex);
      parts.engine->live.clear();
    }
    loop->run_ready();
    frontend = nullptr;
  }
  std::unique_ptr<Call> ask(const v1::GenerateRequest& request, const std::function<void(Call&)>& prepare = {}) {
    auto call = std::make_unique<Call>();
    if (prepare) prepare(*call);
    call->reader = std::thread([this, call = call.get(), request] {
      const auto stream = stub->Generate(&call->context, request);
      v1::GenerateResponse message;
      while (stream->Read(&message)) call->messages.push_back(message);
      call->status = stream->Finish();
      call->ended = true;
    });
    return call;
  }
  // Asks and waits until the engine has it; gives the engine's id.
  std::uint64_t submit(std::unique_ptr<Call>& call, const v1::GenerateRequest& request,
                       const std::function<void(Call&)>& prepare = {}) {
    const std::uint64_t before = parts.engine->last_id();
    call = ask(request, prepare);
    EXPECT_TRUE(eventually([&] { return parts.engine->last_id() != before || call->ended; }));
    return parts.engine->last_id();
  }
};

v1::GenerateRequest text_request(const std::string& text, bool stream = true) {
  v1::GenerateRequest request;
  request.set_text(text);
  request.set_stream(stream);
  return request;
}

TEST_F(GrpcTest, StreamsTextTokensAndOneFinish) {
  start();
  std::unique_ptr<Call> call;
  auto request = text_request("ab");
  request.set_request_id("mine");
  request.mutable_sampling()->set_max_tokens(5);
  const auto id = submit(call, request);
  parts.engine->say(id, 0, "he");
  parts.engine->say(id, 0, "llo");
  parts.engine->finish(id, 0, FinishReason::kLength);
  call->wait();
  EXPECT_TRUE(call->status.ok()) << call->status.error_message();
  EXPECT_EQ(call->text(), "hello");
  ASSERT_GE(call->messages.size(), 2u);
  EXPECT_EQ(call->messages.front().prompt_info().prompt_tokens(), 2);
  EXPECT_EQ(call->messages.front().request_id(), "mine");
  EXPECT_FALSE(call->messages.front().has_finish());
  EXPECT_EQ(call->messages.back().finish().reason(), v1::Finish::LENGTH);
  EXPECT_EQ(call->messages.back().finish().completion_tokens(), 5);
  EXPECT_TRUE(eventually([&] { return server->open_calls() == 0; }));
}

TEST_F(GrpcTest, TheLoopMayBeDoneWithACallBeforeItsThreadIs) {
  start();
  quick.be_quick(loop_thread.get_id());
  for (int i = 0; i < 3; ++i) {
    std::unique_ptr<Call> call;
    const auto id = submit(call, text_request("ab"));
    parts.engine->say(id, 0, "he");
    parts.engine->finish(id, 0, FinishReason::kLength);
    call->wait();
    EXPECT_TRUE(call->status.ok()) << call->status.error_message();
    EXPECT_TRUE(eventually([&] { return server->open_calls() == 0; }));
  }
  EXPECT_GE(quick.waits(), 3);
  quick.be_quick({});
}

TEST_F(GrpcTest, WholeAnswersHaveOneMessageAChoice) {
  start();
  std::unique_ptr<Call> call;
  auto request = text_request("x", false);
  request.mutable_sampling()->set_n(2);
  request.mutable_sampling()->add_stop("!");
  const auto id = submit(call, request);
  parts.engine->say(id, 1, "two");
  parts.engine->say(id, 0, "on");
  parts.engine->say(id, 0, "e!rest");
  parts.engine->finish(id, 1, FinishReason::kStop, test::kEos);
  call->wait();
  ASSERT_EQ(call->messages.size(), 2u);
  EXPECT_EQ(call->text(0), "one");
  EXPECT_EQ(call->text(1), "two");
  for (const auto& message : call->messages) {
    EXPECT_EQ(message.finish().reason(), v1::Finish::STOP);
    EXPECT_EQ(message.finish().stop_string(), message.index() == 0 ? "!" : "");
  }
}

TEST_F(GrpcTest, SamplingReachesTheEngine) {
  start();
  std::unique_ptr<Call> call;
  v1::GenerateRequest request;
  for (const int id : {1, 2, 3}) request.mutable_token_ids()->add_ids(id);
  auto& sampling = *request.mutable_sampling();
  sampling.set_temperature(0.25f);
  sampling.set_top_k(7);
  sampling.set_top_p(0.5f);
  sampling.set_seed(-3);
  sampling.set_logprobs(2);
  (*sampling.mutable_logit_bias())[5] = -2.5f;
  sampling.add_stop_token_ids(9);
  sampling.set_max_tokens(11);
  sampling.set_ignore_eos(true);
  const auto id = submit(call, request);
  {
    std::lock_guard lock(parts.engine->mutex);
    const Request& seen = parts.engine->live[id].request;
    EXPECT_EQ(seen.prompt, (std::vector<Token>{1, 2, 3}));
    EXPECT_EQ(seen.sampling.temperature, 0.25f);
    EXPECT_EQ(seen.sampling.top_k, 7);
    EXPECT_EQ(seen.sampling.top_p, 0.5f);
    EXPECT_EQ(seen.sampling.seed, static_cast<std::uint64_t>(-3));
    EXPECT_EQ(seen.sampling.logprobs, 2);
    EXPECT_EQ(seen.sampling.logit_bias, (std::vector<std::pair<Token, float>>{{5, -2.5f}}));
    EXPECT_EQ(seen.sampling.stop_token_ids, std::vector<Token>{9});
    EXPECT_EQ(seen.sampling.max_tokens, 11);
    EXPECT_TRUE(seen.sampling.ignore_eos);
    EXPECT_EQ(seen.deadline, 0);
  }
  parts.engine->finish(id, 0, FinishReason::kLength);
  call->wait();
}

TEST_F(GrpcTest, ChatGoesThroughTheTemplate) {
  start();
  std::unique_ptr<Call> call;
  v1::GenerateRequest request;
  auto& message = *request.mutable_chat()->add_messages();
  message.set_role("user");
  message.set_content("hi");
  const auto id = submit(call, request);
  {
    std::lock_guard lock(parts.engine->mutex);
    EXPECT_EQ(parts.tokenizer->decode(parts.engine->live[id].request.prompt, false), "user:hi;assistant:");
  }
  parts.engine->finish(id, 0, FinishReason::kStop, test::kEos);
  call->wait();
  EXPECT_TRUE(call->status.ok());
}

struct BadRequest {
  const char* name;
  std::function<void(v1::GenerateRequest&)> change;
  grpc::StatusCode code;
  const char* field;
};

TEST_F(GrpcTest, BadRequestsAreNamedAndNothingIsSubmitted) {
  start();
  const BadRequest cases[] = {
      {"no prompt", [](auto& r) { r.clear_prompt(); }, grpc::StatusCode::INVALID_ARGUMENT, "prompt"},
      {"empty ids", [](auto& r) { r.mutable_token_ids(); }, grpc::StatusCode::INVALID_ARGUMENT, "prompt"},
      {"id outside", [](auto& r) { r.mutable_token_ids()->add_ids(test::kVocab); }, grpc::StatusCode::INVALID_ARGUMENT,
       "prompt"},
      {"model", [](auto& r) { r.set_model("other"); }, grpc::StatusCode::NOT_FOUND, "model"},
      {"temperature", [](auto& r) { r.mutable_sampling()->set_temperature(-1); }, grpc::StatusCode::INVALID_ARGUMENT,
       "temperature"},
      {"not a number", [](auto& r) { r.mutable_sampling()->set_top_p(std::nanf("")); },
       grpc::StatusCode::INVALID_ARGUMENT, "top_p"},
      {"n", [](auto& r) { r.mutable_sampling()->set_n(0); }, grpc::StatusCode::INVALID_ARGUMENT, "n"},
      {"max_tokens", [](auto& r) { r.mutable_sampling()->set_max_tokens(0); }, grpc::StatusCode::INVALID_ARGUMENT,
       "max_tokens"},
      {"bias",
       [](auto& r) {
         for (int i = 0; i < 2000; ++i) (*r.mutable_sampling()->mutable_logit_bias())[i] = 1;
       },
       grpc::StatusCode::INVALID_ARGUMENT, "logit_bias"},
      {"tools", [](auto& r) { r.mutable_chat()->set_tools_json("}{"); }, grpc::StatusCode::INVALID_ARGUMENT, "tools"},
      {"no messages", [](auto& r) { r.mutable_chat(); }, grpc::StatusCode::INVALID_ARGUMENT, "messages"},
      {"role", [](auto& r) { r.mutable_chat()->add_messages()->set_role("king"); }, grpc::StatusCode::INVALID_ARGUMENT,
       "messages[0].role"},
  };
  for (const BadRequest& bad : cases) {
    auto request = text_request("x");
    bad.change(request);
    const auto call = ask(request);
    call->wait();
    EXPECT_EQ(call->status.error_code(), bad.code) << bad.name << ": " << call->status.error_message();
    EXPECT_EQ(field_of(call->context), bad.field) << bad.name;
    EXPECT_TRUE(call->messages.empty()) << bad.name;
  }
  EXPECT_EQ(parts.engine->last_id(), 0u);
  EXPECT_TRUE(eventually([&] { return server->open_calls() == 0; }));
}

TEST_F(GrpcTest, ALeavingClientFreesItsWork) {
  start();
  std::unique_ptr<Call> call;
  const auto id = submit(call, text_request("x"));
  parts.engine->say(id, 0, "a");
  call->context.TryCancel();
  call->wait();
  EXPECT_EQ(call->status.error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(eventually([&] { return parts.engine->idle() && server->open_calls() == 0; }));
  std::lock_guard lock(parts.engine->mutex);
  EXPECT_EQ(parts.engine->cancelled, 1);
}

TEST_F(GrpcTest, DeadlinesReachTheEngineAndEndTheCall) {
  start();
  std::unique_ptr<Call> call;
  const auto id = submit(call, text_request("x"),
                         [](Call& c) { c.context.set_deadline(std::chrono::system_clock::now() + kSoon); });
  {
    std::lock_guard lock(parts.engine->mutex);
    EXPECT_NE(parts.engine->live[id].request.deadline, 0);
  }
  call->wait();
  EXPECT_EQ(call->status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_TRUE(eventually([&] { return parts.engine->idle(); }));
}

TEST_F(GrpcTest, AbortEndsOneCallByItsId) {
  start();
  std::unique_ptr<Call> first, second;
  auto request = text_request("x");
  request.set_request_id("a");
  const auto id = submit(first, request);
  const auto twin = ask(request);
  twin->wait();
  EXPECT_EQ(twin->status.error_code(), grpc::StatusCode::ALREADY_EXISTS);
  request.set_request_id("b");
  const auto other = submit(second, request);
  v1::AbortRequest abort;
  v1::AbortResponse answer;
  abort.set_request_id("a");
  grpc::ClientContext one, two;
  ASSERT_TRUE(stub->Abort(&one, abort, &answer).ok());
  EXPECT_TRUE(answer.found());
  first->wait();
  EXPECT_EQ(first->status.error_code(), grpc::StatusCode::CANCELLED);
  ASSERT_TRUE(stub->Abort(&two, abort, &answer).ok());
  EXPECT_FALSE(answer.found());
  parts.engine->say(other, 0, "ok");
  parts.engine->finish(other, 0, FinishReason::kStop, test::kEos);
  second->wait();
  EXPECT_EQ(second->text(), "ok") << "the neighbour is not disturbed";
  EXPECT_NE(id, other);
}

TEST_F(GrpcTest, AnIdIsNoLongerThanItsLimit) {
  start();
  auto request = text_request("x");
  request.set_request_id(std::string(kMaxRequestIdBytes + 1, 'a'));
  const auto refused = ask(request);
  refused->wait();
  EXPECT_EQ(refused->status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_NE(refused->status.error_message().find("request_id"), std::string::npos);
  request.set_request_id(std::string(kMaxRequestIdBytes, 'a'));
  std::unique_ptr<Call> taken;
  const auto id = submit(taken, request);
  parts.engine->finish(id, 0, FinishReason::kStop, test::kEos);
  taken->wait();
  EXPECT_TRUE(taken->status.ok());
}

TEST_F(GrpcTest, FailuresOfTheEngineEndTheCall) {
  start();
  std::unique_ptr<Call> call;
  const auto id = submit(call, text_request("x"));
  parts.engine->say(id, 0, "par");
  parts.engine->finish(id, 0, FinishReason::kError, -1, Status(Code::kDataLoss, "an expert is damaged"));
  call->wait();
  EXPECT_EQ(call->status.error_code(), grpc::StatusCode::DATA_LOSS);
  EXPECT_EQ(call->status.error_message(), "an expert is damaged");
  {
    const std::lock_guard lock(parts.engine->mutex);
    parts.engine->refuse = resource_exhausted("the queue is full");
  }
  const auto refused = ask(text_request("x"));
  refused->wait();
  EXPECT_EQ(refused->status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(says_when(refused->context));
}

TEST_F(GrpcTest, KeysAreAskedForButNotForHealth) {
  options.api_keys = {"secret"};
  start();
  const auto call = ask(text_request("x"));
  call->wait();
  EXPECT_EQ(call->status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  v1::HealthCheckResponse health;
  grpc::ClientContext plain, keyed, without;
  EXPECT_TRUE(stub->HealthCheck(&plain, {}, &health).ok());
  EXPECT_TRUE(health.healthy());
  v1::GetModelInfoResponse info;
  EXPECT_EQ(stub->GetModelInfo(&without, {}, &info).error_code(), grpc::StatusCode::UNAUTHENTICATED);
  keyed.AddMetadata("authorization", "Bearer secret");
  EXPECT_TRUE(stub->GetModelInfo(&keyed, {}, &info).ok());
  EXPECT_EQ(info.model(), "demo");
  EXPECT_EQ(info.vocab_size(), test::kVocab);
}

TEST_F(GrpcTest, NotReadyIsSaid) {
  start(false);
  const auto call = ask(text_request("x"));
  call->wait();
  EXPECT_EQ(call->status.error_code(), grpc::StatusCode::UNAVAILABLE);
  v1::HealthCheckResponse health;
  grpc::ClientContext context, other;
  ASSERT_TRUE(stub->HealthCheck(&context, {}, &health).ok());
  EXPECT_FALSE(health.healthy());
  EXPECT_EQ(health.status(), "loading");
  v1::GetLoadsResponse loads;
  EXPECT_EQ(stub->GetLoads(&other, {}, &loads).error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(GrpcTest, TooManyCallsAreTurnedAway) {
  options.max_calls = 1;
  start();
  std::unique_ptr<Call> call;
  const auto id = submit(call, text_request("x"));
  const auto second = ask(text_request("y"));
  second->wait();
  EXPECT_EQ(second->status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(says_when(second->context));
  grpc::ClientContext context;
  v1::GetLoadsResponse loads;
  EXPECT_EQ(stub->GetLoads(&context, {}, &loads).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(says_when(context));
  parts.engine->finish(id, 0, FinishReason::kStop, test::kEos);
  call->wait();
  EXPECT_TRUE(call->status.ok());
}

TEST_F(GrpcTest, ASlowReaderIsPausedThenDropped) {
  options.stream_buffer_bytes = 4096;
  options.stall_timeout = 0.3;
  start();
  grpc::ClientContext context;
  const auto stream = stub->Generate(&context, text_request("x"));
  ASSERT_TRUE(eventually([&] { return parts.engine->last_id() != 0; }));
  const auto id = parts.engine->last_id();
  // Nobody reads: the transport's windows fill, then the buffer, which pauses the request; then it is dropped.
  EXPECT_TRUE(eventually([&] {
    parts.engine->say(id, 0, std::string(1000, 'a'));
    return parts.engine->idle();
  }));
  EXPECT_TRUE(eventually([&] { return server->open_calls() == 0; }));
  {
    std::lock_guard lock(parts.engine->mutex);
    ASSERT_FALSE(parts.engine->paused.empty());
    EXPECT_TRUE(parts.engine->paused[0]);
    EXPECT_EQ(parts.engine->cancelled, 1);
  }
  v1::GenerateResponse message;
  while (stream->Read(&message)) continue;
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(GrpcTest, TokensThereAndBack) {
  start();
  v1::TokenizeRequest ask_tokens;
  v1::TokenizeResponse tokens;
  grpc::ClientContext one, two, three, four;
  ask_tokens.set_text("hey");
  ASSERT_TRUE(stub->Tokenize(&one, ask_tokens, &tokens).ok());
  EXPECT_EQ(std::vector<int>(tokens.token_ids().begin(), tokens.token_ids().end()), (std::vector<int>{'h', 'e', 'y'}));
  v1::DetokenizeRequest back;
  v1::DetokenizeResponse text;
  back.add_token_ids('h');
  ASSERT_TRUE(stub->Detokenize(&two, back, &text).ok());
  EXPECT_EQ(text.text(), "h");
  back.add_token_ids(-1);
  EXPECT_EQ(stub->Detokenize(&three, back, &text).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(stub->Tokenize(&four, {}, &tokens).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(GrpcTest, APortBelongsToOneServer) {
  start();
  GrpcOptions same = options;
  same.port = server->port();
  Metrics other;
  const auto second = GrpcServer::start(*loop, *frontend, same, other);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), Code::kUnavailable);
}

TEST_F(GrpcTest, ShutdownEndsOpenCalls) {
  start();
  std::unique_ptr<Call> call;
  submit(call, text_request("x"));
  TearDown();
  call->wait();
  EXPECT_EQ(call->status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(says_when(call->context));
}

}  // namespace
}  // namespace foregate
