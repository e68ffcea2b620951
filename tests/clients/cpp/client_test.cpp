// The C++ client against a server that answers and refuses as a test scripts it.
#include "foregate/client.h"

#include <foregate/v1/inference.grpc.pb.h>
#include <google/protobuf/descriptor.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <deque>
#include <mutex>
#include <thread>

#include "tools/clients/cpp/src/attempts.h"

namespace foregate::client {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

struct Refusal {
  grpc::StatusCode code;
  std::string pushback = {};
  std::string field = {};
};

// Calls take the refusals one after another; they are good when there is none left.
class Scripted final : public v1::Inference::Service {
 public:
  grpc::Status Generate(grpc::ServerContext* context, const v1::GenerateRequest* request,
                        grpc::ServerWriter<v1::GenerateResponse>* writer) override {
    const grpc::Status entered = enter(*context);
    {
      std::lock_guard lock(mutex);
      last = *request;
    }
    if (!entered.ok()) return entered;
    for (int i = 0; i < messages && !context->IsCancelled(); ++i) {
      if (i == break_after) return {grpc::StatusCode::UNAVAILABLE, "broken"};
      writer->Write(i < static_cast<int>(answers.size()) ? answers[static_cast<std::size_t>(i)]
                                                         : v1::GenerateResponse());
      if (pause > 0ms) std::this_thread::sleep_for(pause);
    }
    if (context->IsCancelled()) ++cancelled;
    return grpc::Status::OK;
  }
  grpc::Status HealthCheck(grpc::ServerContext* context, const v1::HealthCheckRequest*,
                           v1::HealthCheckResponse* response) override {
    response->set_healthy(true);
    response->set_status("ok");
    return enter(*context);
  }
  grpc::Status Tokenize(grpc::ServerContext* context, const v1::TokenizeRequest* request,
                        v1::TokenizeResponse* response) override {
    for (const char c : request->has_chat() ? request->chat().messages(0).content() : request->text()) {
      response->add_token_ids(c);
    }
    response->set_max_model_len(64);
    return enter(*context);
  }

  std::mutex mutex;
  std::deque<Refusal> refusals;
  std::vector<std::string> keys;
  std::vector<double> deadlines;  // seconds left
  v1::GenerateRequest last;
  std::vector<v1::GenerateResponse> answers;
  int messages = 3, break_after = -1;
  std::chrono::milliseconds pause{0};
  std::atomic<int> calls{0}, cancelled{0};

 private:
  grpc::Status enter(grpc::ServerContext& context) {
    std::lock_guard lock(mutex);
    ++calls;
    const auto key = context.client_metadata().find("authorization");
    keys.emplace_back(key == context.client_metadata().end() ? ""
                                                             : std::string(key->second.data(), key->second.size()));
    deadlines.push_back(std::chrono::duration<double>(context.deadline() - std::chrono::system_clock::now()).count());
    if (refusals.empty()) return grpc::Status::OK;
    const Refusal refusal = refusals.front();
    refusals.pop_front();
    if (!refusal.pushback.empty()) context.AddTrailingMetadata("grpc-retry-pushback-ms", refusal.pushback);
    if (!refusal.field.empty()) context.AddTrailingMetadata("foregate-field", refusal.field);
    return {refusal.code, "scripted"};
  }
};

struct ClientTest : testing::Test {
  Scripted service;
  std::unique_ptr<grpc::Server> server;
  ClientOptions options;

  void SetUp() override {
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&service);
    server = builder.BuildAndStart();
    ASSERT_NE(port, 0);
    options.target = "127.0.0.1:" + std::to_string(port);
    options.retry.first_wait = 10ms;
  }
  void TearDown() override { server->Shutdown(std::chrono::system_clock::now()); }
};

v1::GenerateResponse answer(int index, const std::string& text, int token) {
  v1::GenerateResponse message;
  message.set_index(index);
  message.set_text(text);
  message.add_token_ids(token);
  return message;
}

TEST_F(ClientTest, RepliesAddUpByChoice) {
  service.messages = 4;
  service.answers = {answer(1, "tw", 20), answer(0, "o", 10), answer(0, "ne", 11), answer(1, "o", 21)};
  service.answers[1].mutable_prompt_info()->set_prompt_tokens(7);
  service.answers[1].mutable_prompt_info()->set_cached_tokens(3);
  service.answers[2].mutable_finish()->set_reason(v1::Finish::STOP);
  service.answers[2].mutable_finish()->set_stop_token(11);
  service.answers[3].mutable_finish()->set_reason(v1::Finish::LENGTH);
  service.answers[3].mutable_finish()->set_completion_tokens(2);
  auto* position = service.answers[3].add_logprobs();
  position->mutable_chosen()->set_logprob(-0.5f);
  position->add_top()->set_token(9);
  Client client(options);
  const auto reply = client.generate({"x"});
  ASSERT_TRUE(reply.ok()) << reply.error().to_string();
  ASSERT_EQ(reply->choices.size(), 2u);
  EXPECT_EQ(reply->choices[0].text, "one");
  EXPECT_EQ(reply->choices[0].finish.reason, Finish::Reason::kStop);
  EXPECT_EQ(reply->choices[0].finish.stop_token, 11);
  EXPECT_FALSE(reply->choices[0].finish.stop_string.has_value());
  EXPECT_EQ(reply->choices[1].text, "two");
  EXPECT_EQ(reply->choices[1].token_ids, (TokenIds{20, 21}));
  EXPECT_EQ(reply->choices[1].finish.completion_tokens, 2);
  ASSERT_EQ(reply->choices[1].logprobs.size(), 1u);
  EXPECT_EQ(reply->choices[1].logprobs[0].chosen.logprob, -0.5f);
  EXPECT_EQ(reply->choices[1].logprobs[0].top[0].token, 9);
  EXPECT_EQ(reply->prompt.prompt_tokens, 7);
  EXPECT_EQ(reply->prompt.cached_tokens, 3);
  EXPECT_FALSE(service.last.stream());
}

TEST_F(ClientTest, EveryFieldIsSent) {
  GenerateRequest request;
  request.prompt = Chat{{{"user", "hi", "me", "call"}}, "[]", "{}", true, false};
  Sampling& sampling = request.sampling;
  sampling.temperature = 0.5f, sampling.top_p = 0.25f, sampling.min_p = 0.125f;
  sampling.repetition_penalty = 1.5f, sampling.presence_penalty = 0.5f, sampling.frequency_penalty = -0.5f;
  sampling.top_k = 4, sampling.min_tokens = 1, sampling.max_tokens = 9, sampling.n = 2, sampling.logprobs = 0;
  sampling.seed = -5;
  sampling.include_stop_str_in_output = true, sampling.ignore_eos = false, sampling.skip_special_tokens = true;
  sampling.logit_bias = {{3, 1.5f}};
  sampling.truncate_prompt_tokens = 70, sampling.thinking_token_budget = 6;
  sampling.allowed_token_ids = {5}, sampling.bad_words = {"no"};
  sampling.stop_token_ids = {8};
  sampling.stop = {"!"};
  request.form = Form{Form::Kind::kChoice, {}, {"a", "b"}};
  request.model = "m", request.request_id = "r", request.priority = -2, request.cache_salt = "s";
  request.add_special_tokens = false;
  Client client(options);
  Delta delta;
  Stream stream = client.stream(request);
  while (stream.next(delta)) {
  }
  ASSERT_TRUE(stream.error().ok());
  // Every member of the messages is set: a field that is added to the wire and not to the client fails here.
  const std::vector<const google::protobuf::Message*> whole = {&service.last, &service.last.sampling(),
                                                               &service.last.chat(), &service.last.chat().messages(0)};
  for (const auto* message : whole) {
    const auto& type = *message->GetDescriptor();
    for (int i = 0; i < type.field_count(); ++i) {
      const auto* field = type.field(i);
      const bool other = field->real_containing_oneof() != nullptr && field->name() != "chat";
      const bool set = field->is_repeated() ? message->GetReflection()->FieldSize(*message, field) > 0
                                            : message->GetReflection()->HasField(*message, field);
      EXPECT_TRUE(set || other) << field->full_name();
    }
  }
  EXPECT_EQ(service.last.output_form().choice().texts_size(), 2);
  EXPECT_EQ(service.last.sampling().seed(), -5);
  const std::pair<Form, v1::OutputForm::FormCase> forms[] = {
      {{Form::Kind::kJsonSchema, "{}", {}}, v1::OutputForm::kJsonSchema},
      {{Form::Kind::kJsonObject, "", {}}, v1::OutputForm::kJsonObject},
      {{Form::Kind::kRegex, "a", {}}, v1::OutputForm::kRegex},
      {{Form::Kind::kGrammar, "root ::= \"a\"", {}}, v1::OutputForm::kGrammar}};
  for (const auto& [form, wire] : forms) {
    request.form = form;
    EXPECT_TRUE(client.generate(request).ok());
    EXPECT_EQ(service.last.output_form().form_case(), wire);
  }
}

TEST_F(ClientTest, WaitsAsLongAsItIsToldAndTriesAgain) {
  options.api_key = "k";
  Client client(options);
  for (const bool stream : {false, true}) {
    service.calls = 0;
    service.keys.clear();
    service.refusals = {{grpc::StatusCode::RESOURCE_EXHAUSTED, "60"}, {grpc::StatusCode::UNAVAILABLE, "60"}};
    const auto began = Clock::now();
    if (stream) {
      EXPECT_TRUE(client.generate({"x"}).ok());
    } else {
      const auto health = client.health();
      ASSERT_TRUE(health.ok());
      EXPECT_TRUE(health->healthy);
    }
    EXPECT_GE(Clock::now() - began, 120ms);
    EXPECT_EQ(service.calls, 3);
    EXPECT_EQ(service.keys, std::vector<std::string>(3, "Bearer k"));
  }
}

TEST_F(ClientTest, GivesUpAfterItsAttempts) {
  options.retry.attempts = 3;
  Client client(options);
  service.refusals.assign(9, {grpc::StatusCode::UNAVAILABLE, ""});
  const auto reply = client.generate({"x"});
  ASSERT_FALSE(reply.ok());
  EXPECT_EQ(reply.error().code, Code::kUnavailable);
  EXPECT_EQ(reply.error().message, "scripted");
  EXPECT_EQ(service.calls, 3);
  const auto health = client.health();
  EXPECT_FALSE(health.ok());
  EXPECT_EQ(service.calls, 6);
}

TEST_F(ClientTest, ErrorsAreNotTriedAgainAndNameTheField) {
  Client client(options);
  const Refusal refusals[] = {{grpc::StatusCode::INVALID_ARGUMENT, "", "temperature"},
                              {grpc::StatusCode::RESOURCE_EXHAUSTED, ""},
                              {grpc::StatusCode::RESOURCE_EXHAUSTED, "-1"},
                              {grpc::StatusCode::UNAVAILABLE, "soon"},
                              {grpc::StatusCode::UNAVAILABLE, "999999999"}};
  for (const Refusal& refusal : refusals) {
    service.calls = 0;
    service.refusals = {refusal};
    const auto reply = client.generate({"x"});
    ASSERT_FALSE(reply.ok());
    EXPECT_EQ(static_cast<int>(reply.error().code), static_cast<int>(refusal.code));
    EXPECT_EQ(reply.error().field, refusal.field);
    EXPECT_EQ(service.calls, 1) << refusal.pushback;
    EXPECT_EQ(reply.error().retry_after.has_value(), refusal.pushback == "999999999");
  }
}

TEST_F(ClientTest, WhatHasBegunIsNotBegunAnew) {
  service.break_after = 1;
  Client client(options);
  const auto reply = client.generate({"x"});
  ASSERT_FALSE(reply.ok());
  EXPECT_EQ(reply.error().code, Code::kUnavailable);
  EXPECT_EQ(service.calls, 1);
}

TEST_F(ClientTest, TheTimeoutBoundsAllAttempts) {
  options.retry.attempts = 99;
  options.timeout = 500ms;
  Client client(options);
  service.refusals.assign(99, {grpc::StatusCode::RESOURCE_EXHAUSTED, "60"});
  EXPECT_FALSE(client.generate({"x"}).ok());
  EXPECT_GT(service.calls, 1);
  EXPECT_LT(service.calls, 10);
  for (std::size_t i = 1; i < service.deadlines.size(); ++i) {
    EXPECT_LT(service.deadlines[i], service.deadlines[i - 1] - 0.05);
  }
  service.calls = 0;
  service.refusals = {{grpc::StatusCode::UNAVAILABLE, "9000"}};
  const auto late = client.generate({"x"}, {8000ms});  // at once: there is no time to wait
  ASSERT_FALSE(late.ok());
  EXPECT_EQ(late.error().retry_after, 9000ms);
  EXPECT_EQ(service.calls, 1);
  service.refusals.clear();
  service.messages = 1000;
  service.pause = 5ms;
  const auto slow = client.generate({"x"}, {100ms});
  ASSERT_FALSE(slow.ok());
  EXPECT_EQ(slow.error().code, Code::kDeadlineExceeded);
}

bool eventually(const std::atomic<int>& count, int wanted) {
  for (int i = 0; i < 2000 && count != wanted; ++i) std::this_thread::sleep_for(5ms);
  return count == wanted;
}

TEST_F(ClientTest, CancelEndsAStreamAndTheServersWork) {
  service.messages = 100'000;
  service.pause = 2ms;
  Client client(options);
  Delta delta;
  {
    Stream stream = client.stream({"x"});
    ASSERT_TRUE(stream.next(delta));
    std::thread other([&] {
      std::this_thread::sleep_for(20ms);
      stream.cancel();
    });
    while (stream.next(delta)) {
    }
    other.join();
    EXPECT_EQ(stream.error().code, Code::kCancelled);
    EXPECT_FALSE(stream.next(delta));
  }
  EXPECT_TRUE(eventually(service.cancelled, 1));
  { Stream left = client.stream({"x"}); }
  {
    Stream moved = client.stream({"x"});
    ASSERT_TRUE(moved.next(delta));
    moved = client.stream({"x"});  // the first one ends
    ASSERT_TRUE(moved.next(delta));
  }
  for (int i = 0; i < 2000 && service.cancelled < 3; ++i) std::this_thread::sleep_for(5ms);
  EXPECT_GE(service.cancelled, 3);
}

TEST_F(ClientTest, CancelEndsAWait) {
  service.refusals = {{grpc::StatusCode::UNAVAILABLE, "20000"}};
  Client client(options);
  Stream stream = client.stream({"x"});
  const auto began = Clock::now();
  std::thread other([&] {
    std::this_thread::sleep_for(200ms);
    stream.cancel();
  });
  Delta delta;
  EXPECT_FALSE(stream.next(delta));
  other.join();
  EXPECT_EQ(stream.error().code, Code::kCancelled);
  EXPECT_LT(Clock::now() - began, 10s);
  EXPECT_EQ(service.calls, 1);
}

TEST_F(ClientTest, TokensAndNobodyThere) {
  Client client(options);
  EXPECT_EQ(client.tokenize(std::string("ab"))->ids, (TokenIds{'a', 'b'}));
  EXPECT_EQ(client.tokenize(Chat{{{"user", "c"}}})->ids, TokenIds{'c'});
  EXPECT_EQ(client.tokenize(TokenIds{1}).error().field, "prompt");
  EXPECT_EQ(client.detokenize({1}).error().code, Code::kUnimplemented);
  options.target = "127.0.0.1:1";
  options.retry.attempts = 2;
  EXPECT_EQ(Client(options).loads().error().code, Code::kUnavailable);
}

TEST(Waits, GrowAndStayInBounds) {
  const RetryPolicy policy{9, 1000ms, 3000ms};
  EXPECT_EQ(wait_before_next(policy, 1, Code::kUnavailable, "", 0), 1000ms);
  EXPECT_EQ(wait_before_next(policy, 1, Code::kUnavailable, "", 1), 500ms);
  EXPECT_EQ(wait_before_next(policy, 2, Code::kUnavailable, "", 0), 2000ms);
  EXPECT_EQ(wait_before_next(policy, 8, Code::kUnavailable, "", 0), 3000ms);
  EXPECT_EQ(wait_before_next(policy, 9, Code::kUnavailable, "", 0), std::nullopt);
  EXPECT_EQ(wait_before_next(policy, 1, Code::kResourceExhausted, "", 0), std::nullopt);
  EXPECT_EQ(wait_before_next(policy, 1, Code::kResourceExhausted, "1500", 0.5), 1500ms);
  EXPECT_EQ(wait_before_next(policy, 1, Code::kInternal, "1500", 0), std::nullopt);
}

}  // namespace
}  // namespace foregate::client
