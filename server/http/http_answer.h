// Answers a generation over HTTP: one JSON body, or a stream of server-sent events. Loop thread only.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "server/generate/generation.h"
#include "server/http/message.h"
#include "server/ops/reply_report.h"
#include "server/stream/sse_writer.h"

namespace foregate {

class HttpAnswer final : public Answer {
 public:
  HttpAnswer(std::shared_ptr<Exchange> exchange, std::shared_ptr<const ServedModel> served,
             std::shared_ptr<const ApiRequest> request, std::string response_id, std::int64_t created,
             ReplyReport* report);  // outlives this; may be null
  bool open() const override { return exchange_->open(); }
  std::string id() const override { return response_.id(); }
  void begin(const std::shared_ptr<Generation>& generation) override;
  void prompt_logprobs(std::size_t prompt, const std::vector<PositionLogprobs>& logprobs) override;
  void progress(std::size_t prompt, const Progress& progress) override;
  void delta(std::size_t choice, SampleDelta delta) override;
  void complete() override;
  void fail(const Status& status) override;

 private:
  struct Choice {
    ChoiceResult result;
    SampleDelta held;     // of a stream: tokens whose text is not out yet
    bool opened = false;  // its first chunk was sent
  };
  void begin_stream();
  void open_choice(std::size_t choice);
  void send(std::size_t choice, SampleDelta delta);
  void collect(std::size_t choice, SampleDelta delta);

  std::shared_ptr<Exchange> exchange_;
  std::shared_ptr<const ServedModel> served_;  // the response uses its tokenizer
  std::shared_ptr<const ApiRequest> request_;
  ApiResponse response_;
  ReplyReport* report_;
  std::unique_ptr<SseWriter> sse_;
  std::vector<Choice> choices_;
  std::vector<PromptEcho> echoes_;  // per prompt, when echo is on or prompt_logprobs asked for
  std::weak_ptr<Generation> generation_;
};

}  // namespace foregate
