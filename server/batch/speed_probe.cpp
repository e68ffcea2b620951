#include "server/batch/speed_probe.h"

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <memory>
#include <mutex>
#include <set>

#include "engine/base/rng.h"

namespace foregate {
namespace {

constexpr std::int32_t kMostPrompt = 512;
constexpr std::int32_t kAnswer = 24;
constexpr std::uint64_t kFirstId = std::uint64_t{1} << 62;  // apart from those of requests

// Until all have their first token it is the prompts' time, after that the answers'.
class ProbeSink final : public EventSink {
 public:
  explicit ProbeSink(std::int32_t samples) : left_(samples), first_left_(samples) {}

  void on_event(TokenEvent event) override {
    const TimeNs now = system_clock().now();
    const std::lock_guard lock(mutex_);
    if (first_left_ == 0) later_tokens_ += static_cast<std::int64_t>(event.tokens.size());
    if (event.tokens.empty() && !event.finish) return;
    if (seen_.insert(event.request.value).second && --first_left_ == 0) firsts_at_ = now;
    if (!event.finish) return;
    if (*event.finish == FinishReason::kError) error_ = event.error;
    ended_at_ = now;
    if (--left_ == 0) done_.notify_all();
  }

  Result<BatchSpeed> wait(TimeNs began, std::int64_t prompt_tokens) {
    std::unique_lock lock(mutex_);
    done_.wait(lock, [this] { return left_ == 0; });
    if (!error_.ok()) return error_;
    BatchSpeed speed;
    speed.samples = static_cast<std::int32_t>(seen_.size());
    speed.prompt_tokens_per_second =
        static_cast<double>(prompt_tokens) / std::max(1e-9, seconds_between(began, firsts_at_));
    speed.completion_tokens_per_second = static_cast<double>(std::max<std::int64_t>(1, later_tokens_)) /
                                         std::max(1e-9, seconds_between(firsts_at_, ended_at_));
    return speed;
  }

 private:
  std::mutex mutex_;
  std::condition_variable done_;
  std::int32_t left_;
  std::int32_t first_left_;
  std::set<std::uint64_t> seen_;  // have their first token
  std::int64_t later_tokens_ = 0;
  TimeNs firsts_at_ = 0;
  TimeNs ended_at_ = 0;
  Status error_;
};

Request probe_request(const Limits& limits, std::uint64_t number, std::int32_t length, std::int32_t answer) {
  Request request;
  request.id = RequestId{kFirstId + number};
  for (std::int32_t i = 0; i < length; ++i) {
    const auto draw = philox4x32(number, static_cast<std::uint64_t>(i), 0xba7cULL);
    request.prompt.push_back(static_cast<Token>(draw[0] % static_cast<std::uint32_t>(limits.vocab_size)));
  }
  request.sampling.temperature = 0;
  request.sampling.ignore_eos = true;
  request.sampling.max_tokens = answer;
  return request;
}

}  // namespace

Result<BatchSpeed> probe_speed(Engine& engine, const DryRun& counted, std::int32_t most_samples) {
  const std::uint64_t asked = counted.requests - counted.fault_count;
  if (asked == 0) return invalid_argument("no line can be answered");
  const auto samples =
      static_cast<std::int32_t>(std::min<std::uint64_t>(static_cast<std::uint64_t>(most_samples), asked));
  const Limits& limits = engine.limits();
  const std::int32_t answer = std::max(2, std::min(kAnswer, limits.max_model_len / 2));
  const std::int32_t most_prompt = std::max(1, std::min(kMostPrompt, limits.max_model_len - answer));
  const auto length = static_cast<std::int32_t>(
      std::clamp<std::uint64_t>(counted.prompt_tokens / asked, 1, static_cast<std::uint64_t>(most_prompt)));
  auto sink = std::make_shared<ProbeSink>(samples);
  const TimeNs began = system_clock().now();
  for (std::int32_t i = 0; i < samples; ++i) {
    const auto number = static_cast<std::uint64_t>(i);
    if (const Status status = engine.submit(probe_request(limits, number, length, answer), sink); !status.ok()) {
      for (std::uint64_t other = 0; other < number; ++other) engine.cancel(RequestId{kFirstId + other});
      return status;
    }
  }
  return sink->wait(began, static_cast<std::int64_t>(samples) * length);
}

std::string estimate_text(const DryRun& counted, const BatchSpeed& speed) {
  const double seconds = static_cast<double>(counted.prompt_tokens) / speed.prompt_tokens_per_second +
                         static_cast<double>(counted.most_completion_tokens) / speed.completion_tokens_per_second;
  char text[256];
  std::snprintf(text, sizeof text,
                "at most about %.1f s: %.0f prompt and %.0f completion tokens a second, measured with %d at a time\n",
                seconds, speed.prompt_tokens_per_second, speed.completion_tokens_per_second, speed.samples);
  return text;
}

}  // namespace foregate
