// One connection: reads a request, waits for the answer, writes it, starts again. Loop thread only.
// Inner part of http_server; nobody else includes it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/base/metrics.h"
#include "server/http/http_server.h"
#include "server/http/message.h"
#include "server/http/request_reader.h"
#include "server/net/io.h"

namespace foregate {

class HttpSession;

// What all connections of a server share.
struct HttpShared : std::enable_shared_from_this<HttpShared> {
  HttpShared(IoLoop& io_loop, const HttpOptions& http_options, HttpCallbacks http_callbacks, Metrics& registry);
  void count_response(const HttpRequest& request, int status);
  // Writes what the session has, with what other sessions have by then, when the task that runs is over.
  void flush_soon(std::shared_ptr<HttpSession> session);
  void flush();

  IoLoop& loop;
  HttpOptions options;
  HttpCallbacks callbacks;
  Metrics& metrics;
  Gauge& connections;
  Counter& stalled;
  Counter& gone;
  Counter& refused;
  std::unordered_map<HttpSession*, std::shared_ptr<HttpSession>> sessions;
  std::vector<std::shared_ptr<HttpSession>> unsent;    // each once
  std::vector<std::shared_ptr<HttpSession>> flushing;  // while flush() runs
  std::uint64_t body_bytes = 0;
  bool draining = false;
};

class SessionExchange;

class HttpSession : public std::enable_shared_from_this<HttpSession> {
 public:
  HttpSession(std::shared_ptr<HttpShared> shared, std::shared_ptr<Connection> connection);
  void start();
  void refuse(int status, const std::string& message);  // answers without reading, then closes
  void close_if_idle();
  void close();
  bool answering() const { return phase_ == Phase::kAnswer || buffered() > 0; }

  // The answer, called by the current exchange.
  void respond(const HttpRequest& request, HttpResponse response);
  void begin_stream(const HttpRequest& request, const std::string& content_type, const Headers& headers);
  void send(std::string_view piece);
  void end_stream();
  void flush();

 private:
  enum class Phase { kHead, kBody, kAnswer, kLinger, kClosed };

  void read();
  void on_bytes(std::string_view bytes);
  void process();
  bool admit_head();
  bool charge_body();
  void start_exchange();
  Headers all_headers(const HttpRequest& request, const Headers& own) const;
  void fail(int status, const std::string& message);
  void queue(std::string_view bytes);
  void pump();
  bool write_ready();
  void note_written(std::size_t written);
  void on_written(const Status& status, std::size_t written);
  void on_flushed();
  void next_request();
  void linger();
  void arm_read_timer();
  void lose(const char* cause);
  std::size_t buffered() const { return out_.size() + writing_.size() - written_; }

  std::shared_ptr<HttpShared> shared_;
  std::shared_ptr<Connection> connection_;
  std::unique_ptr<Timer> read_timer_;
  std::unique_ptr<Timer> write_timer_;
  std::unique_ptr<RequestReader> reader_;
  std::shared_ptr<SessionExchange> current_;
  std::string route_;
  std::shared_ptr<void> held_;  // what the gate gave the request
  std::uint64_t body_limit_ = 0;
  std::string in_;
  std::string out_;
  std::string writing_;
  std::size_t written_ = 0;
  std::uint64_t body_charge_ = 0;
  std::uint64_t lingered_bytes_ = 0;
  Phase phase_ = Phase::kHead;
  bool reading_ = false;
  bool write_pending_ = false;
  bool flush_due_ = false;  // HttpShared has it in `unsent`
  bool head_admitted_ = false;
  bool keep_alive_ = false;
  bool chunked_ = false;
  bool answered_ = false;  // the whole answer is queued
  bool pressed_ = false;
};

// The Exchange of one request on a session. Holds the session alive while a handler holds it.
class SessionExchange final : public Exchange, public std::enable_shared_from_this<SessionExchange> {
 public:
  SessionExchange(std::shared_ptr<HttpSession> session, HttpRequest request)
      : session_(std::move(session)), request_(std::move(request)) {}
  HttpRequest& request() override { return request_; }
  void respond(HttpResponse response) override;
  void begin_stream(const std::string& content_type, const Headers& headers) override;
  void send(std::string_view piece) override;
  void end_stream() override;
  void break_off() override;
  bool open() const override { return session_ != nullptr; }
  void on_gone(std::function<void(const char*)> handler) override { gone_ = std::move(handler); }
  void on_pressure(std::function<void(bool)> handler) override { pressure_ = std::move(handler); }

  void notify_gone(const char* cause);
  void notify_pressure(bool pressed);
  void finish();  // the answer is complete or lost: forgets the session and the handlers

 private:
  std::shared_ptr<HttpSession> session_;
  HttpRequest request_;
  std::function<void(const char*)> gone_;
  std::function<void(bool)> pressure_;
};

}  // namespace foregate
