#include "tests/engine/runtime/harness.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "engine/base/rng.h"
#include "engine/sample/sampler.h"

namespace foregate::testing_support {
namespace {
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr auto kPatience = std::chrono::minutes(20);  // the reference kernels are slow already
#else
constexpr auto kPatience = std::chrono::seconds(60);
#endif
}  // namespace

void CollectSink::on_event(TokenEvent event) {
  std::lock_guard lock(mutex_);
  SampleLog& log = logs_[event.index];
  if (log.finishes > 0) ++log.events_after_finish;
  if (log.cached_tokens < 0 && !event.tokens.empty()) log.cached_tokens = event.cached_tokens;
  log.tokens.insert(log.tokens.end(), event.tokens.begin(), event.tokens.end());
  log.logprobs.insert(log.logprobs.end(), event.logprobs.begin(), event.logprobs.end());
  if (!event.prompt_logprobs.empty()) log.prompt_logprobs = event.prompt_logprobs;
  tokens_ += event.tokens.size();
  if (event.finish) {
    ++log.finishes;
    ++finished_;
    log.finish = event.finish;
    log.stop_token = event.stop_token;
    log.error = event.error;
  }
  changed_.notify_all();
}

bool CollectSink::wait_finished(int n) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, kPatience, [&] { return finished_ >= n; });
}

bool CollectSink::wait_tokens(std::size_t count) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, kPatience, [&] { return tokens_ >= count; });
}

bool CollectSink::wait_progress(std::size_t count) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, kPatience, [&] { return tokens_ >= count || finished_ > 0; });
}

std::map<std::int32_t, SampleLog> CollectSink::logs() const {
  std::lock_guard lock(mutex_);
  return logs_;
}

SampleLog CollectSink::log(std::int32_t index) const {
  std::lock_guard lock(mutex_);
  const auto it = logs_.find(index);
  return it == logs_.end() ? SampleLog() : it->second;
}

EngineSetup::EngineSetup() {
  options.max_num_seqs = 8;
  options.max_num_batched_tokens = 64;
  options.max_num_queued_reqs = 256;
  options.model_name = "stub";
  limits.max_model_len = 512;
  limits.vocab_size = kVocab;
}

HostDevice& host_device() {
  static HostDevice device;
  return device;
}

EngineParts parts_of(const EngineSetup& setup, std::unique_ptr<Model> model) {
  EngineParts parts;
  KvLayout layout = model->kv_layout(setup.kv_type, setup.block_size);
  layout.grouped = setup.window_blocks > 0;
  auto cache = KvCache::create(host_device(), layout, setup.num_blocks, setup.window_blocks);
  CHECK(cache.ok());
  parts.model = std::move(model);
  parts.device = &host_device();
  parts.cache = std::move(cache).value();
  parts.options = setup.options;
  parts.info.architecture = "stub";
  parts.info.vocab_size = setup.limits.vocab_size;
  parts.info.eos_token_ids = setup.eos;
  parts.limits = setup.limits;
  parts.clock = setup.clock;
  parts.metrics = setup.metrics;
  if (setup.drafter) parts.speculation.drafter = setup.drafter();
  parts.speculation.num_speculative_tokens = setup.num_speculative_tokens;
  parts.speculation.tree = setup.tree;
  return parts;
}

std::unique_ptr<Engine> engine_of(const EngineSetup& setup, std::unique_ptr<Model> model) {
  auto engine = make_engine(parts_of(setup, std::move(model)));
  CHECK(engine.ok());
  return std::move(engine).value();
}

std::unique_ptr<Engine> stub_engine(const EngineSetup& setup) {
  return engine_of(setup, std::make_unique<StubModel>(setup.limits.vocab_size));
}

Request make_request(std::uint64_t id, std::vector<Token> prompt, std::int32_t max_tokens) {
  Request request;
  request.id = RequestId{id};
  request.prompt = std::move(prompt);
  request.sampling.max_tokens = max_tokens;
  request.sampling.temperature = 0.0f;
  return request;
}

std::vector<Token> random_prompt(std::uint64_t seed, std::int32_t length, std::int32_t vocab) {
  std::vector<Token> prompt;
  for (std::int32_t i = 0; i < length; ++i) {
    prompt.push_back(static_cast<Token>(uniform01(seed, 77, static_cast<std::uint64_t>(i)) * vocab));
  }
  return prompt;
}

SampleLog expected_answer(const Request& request, std::int32_t index, const std::vector<Token>& eos) {
  SampleLog log;
  Sampler sampler(kVocab);
  std::vector<Token> tokens = request.prompt;
  while (!log.finish) {
    const auto logits = stub_logits(history_hash(tokens), kVocab);
    SampleInput input;
    input.logits = logits;
    input.prompt = request.prompt;
    input.output = log.tokens;
    input.params = &request.sampling;
    input.eos_ids = eos;
    input.seed = request.sampling.seed.value_or(0);
    input.index = index;
    const auto sampled = sampler.sample(input);
    CHECK(sampled.ok());
    if (sampled->stops) {
      log.finish = FinishReason::kStop;
      log.stop_token = sampled->token;
      break;
    }
    log.tokens.push_back(sampled->token);
    tokens.push_back(sampled->token);
    if (sampled->logprobs) log.logprobs.push_back(*sampled->logprobs);
    if (static_cast<std::int32_t>(log.tokens.size()) == request.sampling.max_tokens) log.finish = FinishReason::kLength;
  }
  return log;
}

bool wait_idle(const Engine& engine) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (!engine.idle()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  return true;
}

std::vector<std::vector<Token>> answers_of(Engine& engine, const std::vector<Request>& requests, bool together) {
  std::vector<std::shared_ptr<CollectSink>> sinks;
  for (const Request& request : requests) {
    sinks.push_back(std::make_shared<CollectSink>());
    EXPECT_TRUE(engine.submit(request, sinks.back()).ok());
    EXPECT_TRUE(together || sinks.back()->wait_finished(1));
  }
  std::vector<std::vector<Token>> answers;
  for (const auto& sink : sinks) {
    EXPECT_TRUE(sink->wait_finished(1));
    EXPECT_EQ(sink->log().finish, FinishReason::kLength);
    answers.push_back(sink->log().tokens);
  }
  EXPECT_TRUE(wait_idle(engine));
  return answers;
}

}  // namespace foregate::testing_support
