#include "server/http/block_answer.h"

#include <utility>

#include "server/openai/api_error.h"
#include "server/ops/retry_after.h"

namespace foregate {

BlockAnswer::BlockAnswer(std::shared_ptr<Exchange> exchange, std::shared_ptr<const ApiRequest> request,
                         std::unique_ptr<BlockWriter> writer, ReplyReport& report)
    : exchange_(std::move(exchange)), request_(std::move(request)), writer_(std::move(writer)), report_(report) {}

void BlockAnswer::begin(const std::shared_ptr<Generation>& generation) {
  generation_ = generation;
  exchange_->on_gone([generation](const char*) { generation->client_gone(); });
  if (!request_->stream) return;
  exchange_->on_pressure([generation](bool pressed) { generation->set_paused(pressed); });
  Exchange& exchange = *exchange_;
  exchange.begin_stream("text/event-stream; charset=utf-8", id_header(exchange.request(), writer_->id()));
  sse_ = std::make_unique<SseWriter>([&exchange](std::string_view bytes) { exchange.send(bytes); },
                                     [&exchange] { exchange.end_stream(); });
  send(writer_->begin(generation->usage()));
}

void BlockAnswer::send(const std::vector<NamedEvent>& events) {
  if (sse_ == nullptr) return;
  for (const NamedEvent& event : events) sse_->named(event.name, event.data);
}

void BlockAnswer::delta(std::size_t, SampleDelta delta) {
  std::vector<ReplyPiece> pieces = std::move(delta.pieces);
  if (!request_->reply && !delta.text.empty()) pieces = {{ReplyPiece::Kind::kContent, std::move(delta.text)}};
  report_.note(pieces);
  send(writer_->add(pieces));
  if (delta.end) end_ = std::move(*delta.end);
}

void BlockAnswer::complete() {
  const auto generation = generation_.lock();
  if (!generation) return;
  const Usage usage = generation->usage();
  const std::vector<NamedEvent> last = writer_->finish(end_, usage);
  if (sse_ != nullptr) {
    send(last);
    return sse_->close();
  }
  HttpResponse response;
  response.headers = id_header(exchange_->request(), writer_->id());
  response.body = writer_->body(end_, usage);
  exchange_->respond(std::move(response));
}

void BlockAnswer::fail(const Status& status) {
  if (sse_ != nullptr) {
    send({writer_->failure(status)});
    return sse_->close();
  }
  const ApiError error = api_error(status);
  HttpResponse response;
  response.status = error.status == 499 ? 503 : error.status;
  response.body = writer_->error_body(status);
  if (error.retry_later) response.headers.emplace_back("retry-after", retry_after_seconds());
  exchange_->respond(std::move(response));
}

}  // namespace foregate
