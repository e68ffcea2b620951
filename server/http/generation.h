// One generation request from checked ApiRequest to complete answer: submits to the engine, turns
// its events into text, and writes the response or the stream with exactly one terminal. Lives on
// the loop thread; engine events reach it through the loop.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/api/engine.h"
#include "server/http/message.h"
#include "server/http/served_model.h"
#include "server/net/io.h"
#include "server/openai/api_response.h"
#include "server/stream/sample_text.h"
#include "server/stream/sse_writer.h"

namespace foregate {

struct GenerationStart {
  IoLoop& loop;
  std::shared_ptr<const ServedModel> served;
  std::shared_ptr<Exchange> exchange;
  ApiRequest request;
  std::uint64_t first_request_id = 0;  // one id per prompt, counting up
  std::string response_id;
  TimeNs arrival = 0;
};

class Generation : public std::enable_shared_from_this<Generation> {
 public:
  Generation(GenerationStart start, std::function<void(Generation*)> on_end);
  void start();
  // Ends an answer that is still open with this error, and cancels the work behind it.
  void fail(const Status& status);

 private:
  class Sink;
  struct Sample {
    Sample(const Tokenizer& tokenizer, const SampleOptions& options) : text(tokenizer, options) {}
    SampleText text;
    ChoiceResult result;
    bool opened = false;  // its first chunk was sent
  };

  bool submit();
  void begin_stream();
  void on_event(std::size_t prompt, const TokenEvent& event);
  void open_choice(std::size_t choice);
  void emit(std::size_t choice, const SampleDelta& delta);
  void collect(std::size_t choice, SampleDelta delta);
  void complete();
  void cancel_all();
  void end();
  Usage usage() const;
  Timings timings() const;
  RequestId request_id(std::size_t prompt) const { return RequestId{start_.first_request_id + prompt}; }

  GenerationStart start_;
  std::function<void(Generation*)> on_end_;
  ApiResponse response_;
  std::unique_ptr<SseWriter> sse_;
  std::vector<Sample> samples_;     // prompt-major: prompt * n + index
  std::vector<PromptEcho> echoes_;  // per prompt, when echo is on
  std::vector<std::int32_t> cached_tokens_;
  std::size_t submitted_ = 0;
  std::size_t open_samples_ = 0;
  TimeNs submitted_at_ = 0;
  TimeNs first_token_at_ = 0;
  TimeNs last_token_at_ = 0;
  bool ended_ = false;
};

}  // namespace foregate
