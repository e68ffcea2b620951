#include "server/http/http_answer.h"

#include <iterator>
#include <utility>

#include "server/openai/api_error.h"
#include "server/ops/retry_after.h"

namespace foregate {

HttpAnswer::HttpAnswer(std::shared_ptr<Exchange> exchange, std::shared_ptr<const ServedModel> served,
                       std::shared_ptr<const ApiRequest> request, std::string response_id, std::int64_t created,
                       ReplyReport* report)
    : exchange_(std::move(exchange)),
      served_(std::move(served)),
      request_(std::move(request)),
      response_(*request_, *served_->tokenizer, std::move(response_id), served_->context.model_names[0], created),
      report_(report),
      choices_(request_->prompts.size() * static_cast<std::size_t>(request_->n)) {
  if (!request_->echo && !request_->prompt_logprobs) return;
  for (std::size_t i = 0; i < request_->prompts.size(); ++i) {
    echoes_.push_back({request_->echo ? request_->prompt_texts[i] : "", request_->prompts[i], {}});
  }
}

void HttpAnswer::begin(const std::shared_ptr<Generation>& generation) {
  generation_ = generation;
  exchange_->on_gone([generation](const char*) { generation->client_gone(); });
  if (!request_->stream) return;
  exchange_->on_pressure([generation](bool pressed) { generation->set_paused(pressed); });
  begin_stream();
}

void HttpAnswer::begin_stream() {
  Exchange& exchange = *exchange_;
  exchange.begin_stream("text/event-stream; charset=utf-8", id_header(exchange.request(), response_.id()));
  sse_ = std::make_unique<SseWriter>([&exchange](std::string_view bytes) { exchange.send(bytes); },
                                     [&exchange] { exchange.end_stream(); });
  if (request_->kind != ApiKind::kChat) return;
  for (std::size_t i = 0; i < choices_.size(); ++i) open_choice(i);
}

// The first chunk of a choice: the role of a chat, the echoed prompt of a completion.
void HttpAnswer::open_choice(std::size_t choice) {
  if (choices_[choice].opened) return;
  choices_[choice].opened = true;
  const auto generation = generation_.lock();
  if (!generation) return;
  const Usage now = generation->usage();
  const Usage* shown = request_->continuous_usage ? &now : nullptr;
  if (request_->kind == ApiKind::kChat) {
    sse_->event(response_.role_chunk(choice, shown));
    if (request_->echo && !echoes_[0].text.empty()) sse_->event(response_.echo_chunk(choice, echoes_[0], shown));
  } else if (request_->echo) {
    sse_->event(response_.echo_chunk(choice, echoes_[choice / static_cast<std::size_t>(request_->n)], shown));
  }
}

void HttpAnswer::prompt_logprobs(std::size_t prompt, const std::vector<PositionLogprobs>& logprobs) {
  if (!echoes_.empty()) echoes_[prompt].logprobs = logprobs;
}

void HttpAnswer::progress(std::size_t prompt, const Progress& progress) {
  if (sse_ == nullptr || !request_->return_progress) return;
  sse_->event(response_.progress_chunk(prompt * static_cast<std::size_t>(request_->n), progress));
}

void HttpAnswer::delta(std::size_t choice, SampleDelta delta) {
  if (report_ != nullptr) report_->note(delta.pieces);
  if (sse_ != nullptr) {
    send(choice, std::move(delta));
  } else {
    collect(choice, std::move(delta));
  }
}

// Tokens whose text is still held back wait for the next chunk.
void HttpAnswer::send(std::size_t choice, SampleDelta delta) {
  open_choice(choice);
  if (request_->reply) {
    SampleDelta& held = choices_[choice].held;
    delta.tokens.insert(delta.tokens.begin(), held.tokens.begin(), held.tokens.end());
    delta.logprobs.insert(delta.logprobs.begin(), held.logprobs.begin(), held.logprobs.end());
    held = {};
    if (delta.pieces.empty() && !delta.end) return std::swap(held, delta);
    delta.text.clear();
  }
  const auto generation = generation_.lock();
  if (!generation) return;
  const Usage now = request_->continuous_usage ? generation->usage() : Usage();
  const Usage* shown = request_->continuous_usage ? &now : nullptr;
  const bool says = !delta.text.empty() || !delta.pieces.empty() || !delta.tokens.empty();
  const Timings times = request_->timings_per_token || delta.end ? generation->timings() : Timings();
  const Timings* each = request_->timings_per_token ? &times : nullptr;
  if (says) sse_->event(response_.delta_bytes(choice, delta, shown, each));
  if (!delta.end) return;
  sse_->event(response_.end_chunk(choice, *delta.end, shown, generation->open_samples() == 0 ? &times : each));
}

void HttpAnswer::collect(std::size_t choice, SampleDelta delta) {
  ChoiceResult& result = choices_[choice].result;
  result.text += delta.text;
  join_pieces(std::move(delta.pieces), result.pieces);
  result.tokens.insert(result.tokens.end(), delta.tokens.begin(), delta.tokens.end());
  std::move(delta.logprobs.begin(), delta.logprobs.end(), std::back_inserter(result.logprobs));
  if (delta.end) result.end = std::move(*delta.end);
}

void HttpAnswer::complete() {
  const auto generation = generation_.lock();
  if (!generation) return;
  if (sse_ != nullptr) {
    if (request_->include_usage) sse_->event(response_.usage_chunk(generation->usage()));
    return sse_->done();
  }
  std::vector<ChoiceResult> results;
  for (Choice& choice : choices_) results.push_back(std::move(choice.result));
  HttpResponse response;
  response.headers = id_header(exchange_->request(), response_.id());
  response.body = response_.whole(results, echoes_, generation->usage(), generation->timings());
  exchange_->respond(std::move(response));
}

void HttpAnswer::fail(const Status& status) {
  const ApiError error = api_error(status);
  if (sse_ != nullptr) return sse_->fail(error.body);
  HttpResponse response;
  response.status = error.status == 499 ? 503 : error.status;
  response.body = error.body;
  if (error.retry_later) response.headers.emplace_back("retry-after", retry_after_seconds());
  exchange_->respond(std::move(response));
}

}  // namespace foregate
