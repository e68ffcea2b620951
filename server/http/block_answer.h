// Answers a generation in the shape of a BlockWriter: one body, or a stream of named events. Loop thread only.
#pragma once

#include <memory>
#include <string>

#include "server/generate/generation.h"
#include "server/http/message.h"
#include "server/openai/block_writer.h"
#include "server/ops/reply_report.h"
#include "server/stream/sse_writer.h"

namespace foregate {

class BlockAnswer final : public Answer {
 public:
  BlockAnswer(std::shared_ptr<Exchange> exchange, std::shared_ptr<const ApiRequest> request,
              std::unique_ptr<BlockWriter> writer, ReplyReport& report);
  bool open() const override { return exchange_->open(); }
  std::string id() const override { return writer_->id(); }
  void begin(const std::shared_ptr<Generation>& generation) override;
  void prompt_logprobs(std::size_t, const std::vector<PositionLogprobs>&) override {}
  void delta(std::size_t choice, SampleDelta delta) override;
  void complete() override;
  void fail(const Status& status) override;

 private:
  void send(const std::vector<NamedEvent>& events);

  std::shared_ptr<Exchange> exchange_;
  std::shared_ptr<const ApiRequest> request_;
  std::unique_ptr<BlockWriter> writer_;
  ReplyReport& report_;
  std::unique_ptr<SseWriter> sse_;
  SampleEnd end_;
  std::weak_ptr<Generation> generation_;
};

}  // namespace foregate
