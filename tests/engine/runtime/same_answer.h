// Holds the model to INV-13: runs requests through an engine, keeps tokens and logits, compares one way of
// running them with another byte for byte.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "tests/engine/runtime/harness.h"

namespace foregate::testing_support {

using ModelMaker = std::function<std::unique_ptr<Model>()>;

struct RunResult {
  std::vector<SampleLog> logs;  // by request
  std::shared_ptr<LogitRecord> record = std::make_shared<LogitRecord>();
  EngineStats stats;
  bool ended = false;
};

enum class Arrival { kOneByOne, kTogether, kRandom };

// Submits the requests and waits for all. kRandom holds each back until a random number of tokens of
// the others is out, drawn from `seed`.
RunResult run_requests(const EngineSetup& setup, const ModelMaker& maker, const std::vector<Request>& requests,
                       Arrival arrival, std::uint64_t seed = 0);

// Requests of mixed length and sampling. Prompts have min_prompt .. max_prompt tokens.
std::vector<Request> mixed_requests(std::uint64_t seed, int count, std::int32_t vocab, std::int32_t min_prompt,
                                    std::int32_t max_prompt, std::int32_t max_tokens);

struct Difference {
  std::int64_t answers = 0;   // requests whose tokens or log-probabilities differ
  std::int64_t logits = 0;    // histories whose logits differ in a byte
  std::int64_t compared = 0;  // histories seen in both runs
};
Difference compare_runs(const RunResult& a, const RunResult& b);

}  // namespace foregate::testing_support
