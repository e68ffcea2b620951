// An engine over a given model, and sinks that keep the ledger of what it says.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/api/engine.h"
#include "engine/runtime/engine_parts.h"
#include "tests/engine/runtime/stub_model.h"

namespace foregate::testing_support {

inline constexpr std::int32_t kVocab = 64;
inline constexpr Token kEos = 7;

struct SampleLog {
  std::vector<Token> tokens;
  std::vector<PositionLogprobs> logprobs;
  std::vector<PositionLogprobs> prompt_logprobs;
  std::optional<FinishReason> finish;
  Token stop_token = -1;
  Status error;
  std::int32_t cached_tokens = -1;  // of the first event with tokens
  int finishes = 0;
  int events_after_finish = 0;
};

class CollectSink final : public EventSink {
 public:
  void on_event(TokenEvent event) override;
  // Waits until `n` samples have finished; false after 60 s.
  bool wait_finished(int n);
  bool wait_tokens(std::size_t count);    // of all samples together
  bool wait_progress(std::size_t count);  // that many tokens, or a finish
  std::map<std::int32_t, SampleLog> logs() const;
  SampleLog log(std::int32_t index = 0) const;

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::int32_t, SampleLog> logs_;
  int finished_ = 0;
  std::size_t tokens_ = 0;
};

// Time moves only when told to.
class ManualClock final : public Clock {
 public:
  TimeNs now() const override { return now_.load(); }
  std::int64_t wall_seconds() const override { return 0; }
  void advance(double seconds) { now_.fetch_add(static_cast<TimeNs>(seconds * 1e9)); }

 private:
  std::atomic<TimeNs> now_{1'000'000'000};
};

struct EngineSetup {
  EngineOptions options;
  std::int32_t block_size = 4;
  std::int64_t num_blocks = 256;
  std::int64_t window_blocks = 0;  // of layers with a window; 0: they share the others
  DType kv_type = DType::kF32;
  Limits limits;
  std::vector<Token> eos = {kEos};
  const Clock* clock = nullptr;
  Metrics* metrics = nullptr;
  std::function<std::unique_ptr<Drafter>()> drafter;  // none: plain decoding
  std::int32_t num_speculative_tokens = 4;
  TreeShape tree;  // of drafts; empty: chains
  EngineSetup();
};

HostDevice& host_device();
EngineParts parts_of(const EngineSetup& setup, std::unique_ptr<Model> model);
std::unique_ptr<Engine> engine_of(const EngineSetup& setup, std::unique_ptr<Model> model);
std::unique_ptr<Engine> stub_engine(const EngineSetup& setup);

Request make_request(std::uint64_t id, std::vector<Token> prompt, std::int32_t max_tokens);
std::vector<Token> random_prompt(std::uint64_t seed, std::int32_t length, std::int32_t vocab = kVocab);

// What the stub model answers to sample `index` of a request, computed without an engine.
SampleLog expected_answer(const Request& request, std::int32_t index, const std::vector<Token>& eos = {kEos});

// Waits up to 60 s.
bool wait_idle(const Engine& engine);
// The tokens of requests that end at their length, submitted one after the other or all `together`; then the engine is
// idle.
std::vector<std::vector<Token>> answers_of(Engine& engine, const std::vector<Request>& requests, bool together);

}  // namespace foregate::testing_support
