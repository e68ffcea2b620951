#include "tests/engine/runtime/same_answer.h"

#include <cstring>

#include "engine/base/rng.h"

namespace foregate::testing_support {
namespace {

bool same_logprobs(const std::vector<PositionLogprobs>& a, const std::vector<PositionLogprobs>& b) {
  const auto same = [](const TokenLogprob& x, const TokenLogprob& y) {
    return x.token == y.token && std::memcmp(&x.logprob, &y.logprob, sizeof(float)) == 0;
  };
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!same(a[i].chosen, b[i].chosen) || a[i].top.size() != b[i].top.size()) return false;
    for (std::size_t j = 0; j < a[i].top.size(); ++j) {
      if (!same(a[i].top[j], b[i].top[j])) return false;
    }
  }
  return true;
}

}  // namespace

RunResult run_requests(const EngineSetup& setup, const ModelMaker& maker, const std::vector<Request>& requests,
                       Arrival arrival, std::uint64_t seed) {
  RunResult result;
  std::promise<void> begin;  // together: no step runs before all are there, however slowly they come
  result.record->begin = begin.get_future().share();
  if (arrival != Arrival::kTogether) begin.set_value();
  auto engine = engine_of(setup, std::make_unique<RecordingModel>(maker(), result.record, requests));
  std::vector<std::shared_ptr<CollectSink>> sinks;
  result.ended = true;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    auto sink = std::make_shared<CollectSink>();
    if (arrival == Arrival::kRandom && !sinks.empty() && uniform01(seed, 1, i) < 0.5) {
      const auto tokens = static_cast<std::size_t>(uniform01(seed, 2, i) * requests[i - 1].sampling.max_tokens) + 1;
      result.ended = sinks.back()->wait_progress(tokens) && result.ended;
    }
    const Status status = engine->submit(requests[i], sink);
    result.ended = result.ended && status.ok();
    sinks.push_back(sink);
    if (arrival == Arrival::kOneByOne) result.ended = sink->wait_finished(requests[i].n) && result.ended;
  }
  if (arrival == Arrival::kTogether) begin.set_value();
  for (std::size_t i = 0; i < sinks.size(); ++i) {
    result.ended = sinks[i]->wait_finished(requests[i].n) && result.ended;
    result.logs.push_back(sinks[i]->log());
  }
  result.ended = wait_idle(*engine) && result.ended;
  result.stats = engine->stats();
  return result;
}

std::vector<Request> mixed_requests(std::uint64_t seed, int count, std::int32_t vocab, std::int32_t min_prompt,
                                    std::int32_t max_prompt, std::int32_t max_tokens) {
  std::vector<Request> requests;
  for (int i = 0; i < count; ++i) {
    const auto draw = [&](std::uint64_t what) { return uniform01(seed + 1000, what, static_cast<std::uint64_t>(i)); };
    const auto length = min_prompt + static_cast<std::int32_t>(draw(0) * (max_prompt - min_prompt + 1));
    Request request = make_request(static_cast<std::uint64_t>(i) + 1,
                                   random_prompt(seed * 1000 + static_cast<std::uint64_t>(i), length, vocab),
                                   1 + static_cast<std::int32_t>(draw(1) * max_tokens));
    request.sampling.ignore_eos = true;
    request.sampling.logprobs = 2;
    if (i % 3 == 1) {
      request.sampling.temperature = 0.8f;
      request.sampling.top_p = 0.95f;
      request.sampling.seed = static_cast<std::uint64_t>(i);
    }
    if (i % 3 == 2) {
      request.sampling.temperature = 1.2f;
      request.sampling.top_k = 20;
      request.sampling.repetition_penalty = 1.1f;
      request.sampling.frequency_penalty = 0.3f;
      request.sampling.seed = static_cast<std::uint64_t>(i) * 7;
    }
    requests.push_back(std::move(request));
  }
  return requests;
}

Difference compare_runs(const RunResult& a, const RunResult& b) {
  Difference difference;
  for (std::size_t i = 0; i < a.logs.size(); ++i) {
    const SampleLog& x = a.logs[i];
    const SampleLog& y = b.logs[i];
    const bool same = x.tokens == y.tokens && x.finish == y.finish && same_logprobs(x.logprobs, y.logprobs) &&
                      same_logprobs(x.prompt_logprobs, y.prompt_logprobs);
    difference.answers += same ? 0 : 1;
  }
  for (const auto& [history, logits] : a.record->rows) {
    const auto other = b.record->rows.find(history);
    if (other == b.record->rows.end()) continue;
    ++difference.compared;
    const bool same = std::memcmp(logits.data(), other->second.data(), logits.size() * sizeof(float)) == 0;
    difference.logits += same ? 0 : 1;
  }
  difference.logits += a.record->mismatches + b.record->mismatches;
  return difference;
}

}  // namespace foregate::testing_support
