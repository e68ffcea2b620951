#include "server/grpc/grpc_answer.h"

#include <utility>

#include "server/grpc/grpc_status.h"
#include "server/grpc/wire_text.h"

namespace foregate {
namespace {

void put_logprob(const TokenLogprob& from, v1::TokenLogprob& to) {
  to.set_token(from.token);
  to.set_logprob(from.logprob);
}

void put_logprobs(const std::vector<PositionLogprobs>& positions, v1::GenerateResponse& message) {
  for (const PositionLogprobs& position : positions) {
    v1::PositionLogprobs& one = *message.add_logprobs();
    put_logprob(position.chosen, *one.mutable_chosen());
    for (const TokenLogprob& top : position.top) put_logprob(top, *one.add_top());
  }
}

void put_finish(const SampleEnd& end, std::int32_t completion_tokens, v1::Finish& finish) {
  finish.set_reason(end.reason == FinishReason::kLength ? v1::Finish::LENGTH : v1::Finish::STOP);
  if (end.stop_string) finish.set_stop_string(*end.stop_string);
  if (end.stop_token) finish.set_stop_token(*end.stop_token);
  finish.set_completion_tokens(completion_tokens);
}

}  // namespace

GrpcAnswer::GrpcAnswer(std::shared_ptr<GenerateCall> call, std::shared_ptr<const ApiRequest> request,
                       std::string request_id)
    : call_(std::move(call)),
      request_(std::move(request)),
      request_id_(std::move(request_id)),
      choices_(static_cast<std::size_t>(request_->n)) {}

void GrpcAnswer::begin(const std::shared_ptr<Generation>& generation) {
  generation_ = generation;
  call_->on_pressure([generation](bool pressed) { generation->set_paused(pressed); });
  call_->on_gone([generation] { generation->client_gone(); });
}

void GrpcAnswer::delta(std::size_t index, SampleDelta delta) {
  const auto generation = generation_.lock();
  if (!generation || index >= choices_.size()) return;
  Choice& choice = choices_[index];
  v1::GenerateResponse& message = choice.message;
  if (!std::exchange(choice.begun, true)) {
    v1::PromptInfo& info = *message.mutable_prompt_info();
    info.set_prompt_tokens(static_cast<std::int32_t>(request_->prompts[0].size()));
    info.set_cached_tokens(generation->cached_tokens(0));
  }
  message.mutable_text()->append(delta.text);
  message.mutable_token_ids()->Add(delta.tokens.begin(), delta.tokens.end());
  put_logprobs(delta.logprobs, message);
  if (delta.end) put_finish(*delta.end, generation->completion_tokens(index), *message.mutable_finish());
  if (!request_->stream && !delta.end) return;
  message.set_request_id(request_id_);
  message.set_index(static_cast<std::int32_t>(index));
  message.set_text(wire_text(message.text()));
  call_->send(std::exchange(message, {}));
}

void GrpcAnswer::complete() {
  call_->finish(grpc::Status::OK);
}

void GrpcAnswer::fail(const Status& status) {
  if (call_->open()) call_->finish(grpc_status(status, call_->context()));
}

}  // namespace foregate
