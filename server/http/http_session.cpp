#include "server/http/http_session.h"

#include <algorithm>
#include <utility>

#include "engine/api/limits.h"
#include "engine/base/log.h"
#include "server/ops/retry_after.h"

namespace foregate {
namespace {

constexpr std::uint64_t kMaxLingerBytes = 8u << 20;  // unread input thrown away after an early answer
constexpr double kLingerSeconds = 2.0;

std::string head_text(int status, const std::string& content_type, const Headers& headers, bool keep_alive) {
  std::string text = "HTTP/1.1 " + std::to_string(status) + " " + http_reason(status) + "\r\n";
  text += "server: foregate\r\n";
  if (!content_type.empty()) text += "content-type: " + content_type + "\r\n";
  for (const auto& [name, value] : headers) text += name + ": " + value + "\r\n";
  text += keep_alive ? "connection: keep-alive\r\n" : "connection: close\r\n";
  return text;
}

constexpr std::size_t kKeptBytes = 16384;  // of an output buffer, between two uses of it

void append_hex(std::size_t value, std::string& text) {
  static constexpr char kDigits[] = "0123456789abcdef";
  int shift = 60;
  while (shift > 0 && (value >> shift) == 0) shift -= 4;
  for (; shift >= 0; shift -= 4) text += kDigits[(value >> shift) & 15];
}

}  // namespace

HttpSession::HttpSession(std::shared_ptr<HttpShared> shared, std::shared_ptr<Connection> connection)
    : shared_(std::move(shared)),
      connection_(std::move(connection)),
      read_timer_(shared_->loop.make_timer()),
      write_timer_(shared_->loop.make_timer()),
      reader_(std::make_unique<RequestReader>(shared_->options.reader)) {}

void HttpSession::start() {
  arm_read_timer();
  read();
}

void HttpSession::refuse(int status, const std::string& message) {
  fail(status, message);
  read();
}

void HttpSession::close_if_idle() {
  if (phase_ == Phase::kHead && in_.empty() && buffered() == 0) close();
}

void HttpSession::close() {
  if (phase_ == Phase::kClosed) return;
  phase_ = Phase::kClosed;
  read_timer_->cancel();
  write_timer_->cancel();
  connection_->close();
  shared_->body_bytes -= body_charge_;
  body_charge_ = 0;
  held_ = nullptr;
  if (auto exchange = std::exchange(current_, nullptr)) exchange->notify_gone("closed");
  shared_->loop.post([shared = shared_, self = shared_from_this()] {
    shared->sessions.erase(self.get());
    shared->connections.set(static_cast<double>(shared->sessions.size()));
  });
}

void HttpSession::read() {
  if (reading_ || phase_ == Phase::kClosed) return;
  if (phase_ == Phase::kAnswer && in_.size() >= kMaxPipelinedBytes) return;
  reading_ = true;
  connection_->read_some([self = shared_from_this()](const Status& status, std::string_view bytes) {
    self->reading_ = false;
    if (self->phase_ == Phase::kClosed) return;
    if (!status.ok()) return self->lose("connection lost");
    if (bytes.empty()) return self->lose("client closed the connection");
    self->on_bytes(bytes);
    self->read();
  });
}

void HttpSession::on_bytes(std::string_view bytes) {
  if (phase_ == Phase::kLinger) {
    lingered_bytes_ += bytes.size();
    if (lingered_bytes_ > kMaxLingerBytes) close();
    return;
  }
  const bool first = in_.empty() && phase_ == Phase::kHead;
  in_.append(bytes);
  if (first) arm_read_timer();
  if (phase_ != Phase::kAnswer) process();
}

void HttpSession::process() {
  in_.erase(0, reader_->feed(in_));
  if (reader_->state() == RequestReader::State::kFailed) return fail(reader_->error_status(), reader_->error());
  if (reader_->state() == RequestReader::State::kHeader) return;
  if (!head_admitted_ && !admit_head()) return;
  if (!charge_body()) return;
  if (reader_->state() == RequestReader::State::kDone) start_exchange();
}

// Runs once per request when its header is whole: what can be refused is refused before the body.
bool HttpSession::admit_head() {
  head_admitted_ = true;
  phase_ = Phase::kBody;
  arm_read_timer();
  HttpRequest head = reader_->head();
  auto response = shared_->callbacks.gate(head);
  route_ = head.route;
  held_ = std::move(head.held);
  body_limit_ = head.body_limit != 0 ? head.body_limit : shared_->options.max_body_bytes;
  if (response) {
    keep_alive_ = reader_->state() == RequestReader::State::kDone && head.keep_alive && !shared_->draining;
    phase_ = Phase::kAnswer;
    read_timer_->cancel();
    respond(head, std::move(*response));
    return false;
  }
  if (reader_->expects_continue()) queue("HTTP/1.1 100 Continue\r\n\r\n");
  return true;
}

bool HttpSession::charge_body() {
  const std::uint64_t now = reader_->body_charge();
  if (now > body_limit_) {
    return fail(413, "the body is larger than " + std::to_string(body_limit_) + " bytes"), false;
  }
  shared_->body_bytes += now - std::min(now, body_charge_);
  body_charge_ = std::max(now, body_charge_);
  if (shared_->body_bytes <= shared_->options.total_body_bytes) return true;
  fail(503, "the server holds too many request bodies; try again later");
  return false;
}

void HttpSession::start_exchange() {
  phase_ = Phase::kAnswer;
  read_timer_->cancel();
  HttpRequest request = reader_->take();
  request.peer = connection_->peer();
  request.route = route_;
  keep_alive_ = request.keep_alive && !shared_->draining;
  current_ = std::make_shared<SessionExchange>(shared_from_this(), std::move(request));
  shared_->callbacks.handle(current_);
}

// An error of the HTTP layer itself: answered, and the connection is not used again.
void HttpSession::fail(int status, const std::string& message) {
  phase_ = Phase::kAnswer;
  read_timer_->cancel();
  keep_alive_ = false;
  in_.clear();
  HttpResponse response;
  response.status = status;
  response.body = shared_->callbacks.error_body(status, message);
  if (status == 503) response.headers.emplace_back("retry-after", retry_after_seconds());
  respond(reader_->head(), std::move(response));
}

Headers HttpSession::all_headers(const HttpRequest& request, const Headers& own) const {
  Headers headers = own;
  if (!shared_->callbacks.headers) return headers;
  for (auto& header : shared_->callbacks.headers(request)) headers.push_back(std::move(header));
  return headers;
}

void HttpSession::respond(const HttpRequest& request, HttpResponse response) {
  shared_->count_response(request, response.status);
  std::string text =
      head_text(response.status, response.content_type, all_headers(request, response.headers), keep_alive_);
  if (response.status != 204) text += "content-length: " + std::to_string(response.body.size()) + "\r\n";
  text += "\r\n";
  if (request.method != "HEAD") text += response.body;
  answered_ = true;
  queue(text);
}

void HttpSession::begin_stream(const HttpRequest& request, const std::string& content_type, const Headers& headers) {
  shared_->count_response(request, 200);
  chunked_ = request.http_1_1;
  if (!chunked_) keep_alive_ = false;
  std::string text = head_text(200, content_type, all_headers(request, headers), keep_alive_);
  text += "cache-control: no-cache\r\nx-accel-buffering: no\r\n";
  if (chunked_) text += "transfer-encoding: chunked\r\n";
  queue(text + "\r\n");
}

void HttpSession::send(std::string_view piece) {
  if (piece.empty()) return;
  if (chunked_ && phase_ != Phase::kClosed) {
    append_hex(piece.size(), out_);
    out_.append("\r\n").append(piece);
    queue("\r\n");
  } else {
    queue(piece);
  }
  const std::size_t limit = shared_->options.stream_buffer_bytes;
  if (!pressed_ && buffered() > limit) {
    pressed_ = true;
    if (current_) current_->notify_pressure(true);
  }
  if (buffered() > 16 * limit) {
    shared_->stalled.add();
    shared_->loop.post([self = shared_from_this()] { self->lose("stream buffer is full"); });
  }
}

void HttpSession::end_stream() {
  answered_ = true;
  queue(chunked_ ? "0\r\n\r\n" : "");
}

void HttpSession::queue(std::string_view bytes) {
  if (phase_ == Phase::kClosed) return;
  out_.append(bytes);
  if (write_pending_ || std::exchange(flush_due_, true)) return;
  shared_->flush_soon(shared_from_this());
}

void HttpSession::flush() {
  flush_due_ = false;
  pump();
}

// Takes up what is queued; false when there is nothing to write.
bool HttpSession::write_ready() {
  if (written_ < writing_.size()) return true;
  writing_.clear();
  if (writing_.capacity() > kKeptBytes) writing_.shrink_to_fit();
  std::swap(writing_, out_);
  written_ = 0;
  return !writing_.empty();
}

// What the socket takes at once needs neither a handler nor a timer.
void HttpSession::pump() {
  if (write_pending_ || phase_ == Phase::kClosed) return;
  if (!write_ready()) return on_flushed();
  note_written(connection_->write_now(std::string_view(writing_).substr(written_)));
  if (!write_ready()) return on_flushed();
  write_pending_ = true;
  write_timer_->arm(shared_->options.stall_timeout, [self = shared_from_this()] {
    self->shared_->stalled.add();
    self->lose("client reads too slowly");
  });
  connection_->write_some(
      std::string_view(writing_).substr(written_),
      [self = shared_from_this()](const Status& status, std::size_t written) { self->on_written(status, written); });
}

void HttpSession::on_written(const Status& status, std::size_t written) {
  write_pending_ = false;
  if (phase_ == Phase::kClosed) return;
  write_timer_->cancel();
  if (!status.ok()) return lose("connection lost");
  note_written(written);
  pump();
}

void HttpSession::note_written(std::size_t written) {
  written_ += written;
  if (pressed_ && buffered() < shared_->options.stream_buffer_bytes / 2) {
    pressed_ = false;
    if (current_) current_->notify_pressure(false);
  }
}

void HttpSession::on_flushed() {
  if (phase_ != Phase::kAnswer || !answered_) return;
  if (keep_alive_ && !shared_->draining) return next_request();
  linger();
}

void HttpSession::next_request() {
  if (auto exchange = std::exchange(current_, nullptr)) exchange->finish();
  shared_->body_bytes -= body_charge_;
  body_charge_ = 0;
  held_ = nullptr;
  reader_ = std::make_unique<RequestReader>(shared_->options.reader);
  phase_ = Phase::kHead;
  head_admitted_ = answered_ = pressed_ = chunked_ = false;
  arm_read_timer();
  if (!in_.empty()) {
    // Not from here: a long pipeline must not recurse.
    shared_->loop.post([self = shared_from_this()] {
      if (self->phase_ == Phase::kHead) self->process();
    });
  }
  read();
}

// Ends our side and waits a moment for the peer to end its own: closing with unread input would
// make the peer's kernel drop the answer.
void HttpSession::linger() {
  if (auto exchange = std::exchange(current_, nullptr)) exchange->finish();
  phase_ = Phase::kLinger;
  held_ = nullptr;
  connection_->shutdown_send();
  read_timer_->arm(kLingerSeconds, [self = shared_from_this()] { self->close(); });
  in_.clear();
  read();
}

void HttpSession::arm_read_timer() {
  const HttpOptions& options = shared_->options;
  if (phase_ == Phase::kHead && in_.empty()) {
    read_timer_->arm(options.idle_timeout, [self = shared_from_this()] { self->close(); });
  } else if (phase_ == Phase::kHead) {
    read_timer_->arm(options.header_timeout,
                     [self = shared_from_this()] { self->fail(408, "the header did not arrive in time"); });
  } else if (phase_ == Phase::kBody) {
    read_timer_->arm(options.body_timeout,
                     [self = shared_from_this()] { self->fail(408, "the body did not arrive in time"); });
  }
}

void HttpSession::lose(const char* cause) {
  if (phase_ == Phase::kClosed) return;
  if (phase_ == Phase::kAnswer && !(answered_ && buffered() == 0)) {
    shared_->gone.add();
    log_debug(std::string("request of ") + connection_->peer() + " lost: " + cause);
  }
  if (auto exchange = std::exchange(current_, nullptr)) exchange->notify_gone(cause);
  close();
}

void SessionExchange::respond(HttpResponse response) {
  if (session_) session_->respond(request_, std::move(response));
}

void SessionExchange::begin_stream(const std::string& content_type, const Headers& headers) {
  if (session_) session_->begin_stream(request_, content_type, headers);
}

void SessionExchange::send(std::string_view piece) {
  if (session_) session_->send(piece);
}

void SessionExchange::end_stream() {
  if (session_) session_->end_stream();
}

void SessionExchange::break_off() {
  if (session_) session_->close();
}

void SessionExchange::notify_gone(const char* cause) {
  auto handler = std::exchange(gone_, nullptr);
  finish();
  if (handler) handler(cause);
}

void SessionExchange::notify_pressure(bool pressed) {
  if (pressure_) pressure_(pressed);
}

void SessionExchange::finish() {
  session_ = nullptr;
  gone_ = nullptr;
  pressure_ = nullptr;
}

}  // namespace foregate
