// Answers a generation over a Generate call: a message a step, or one a choice. Loop thread only. Inner part of
// server/grpc.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "server/generate/generation.h"
#include "server/grpc/generate_call.h"

namespace foregate {

class GrpcAnswer final : public Answer {
 public:
  GrpcAnswer(std::shared_ptr<GenerateCall> call, std::shared_ptr<const ApiRequest> request, std::string request_id);
  bool open() const override { return call_->open(); }
  std::string id() const override { return request_id_; }
  void begin(const std::shared_ptr<Generation>& generation) override;
  void prompt_logprobs(std::size_t, const std::vector<PositionLogprobs>&) override {}
  void delta(std::size_t choice, SampleDelta delta) override;
  void complete() override;
  void fail(const Status& status) override;

 private:
  struct Choice {
    v1::GenerateResponse message;  // collected; sent at the end when the call does not stream
    bool begun = false;            // its first message was sent or is being collected
  };
  std::shared_ptr<GenerateCall> call_;
  std::shared_ptr<const ApiRequest> request_;
  std::string request_id_;
  std::vector<Choice> choices_;
  std::weak_ptr<Generation> generation_;
};

}  // namespace foregate
