// One line of a batch as a request without a socket. Loop thread only. Inner part of server/batch.
#pragma once

#include <functional>
#include <string>
#include <utility>

#include "server/batch/batch_line.h"
#include "server/http/message.h"
#include "server/net/io.h"

namespace foregate {

class LineExchange final : public Exchange {
 public:
  LineExchange(IoLoop& loop, const BatchLine& line, std::function<void(HttpResponse)> done)
      : loop_(loop), done_(std::move(done)) {
    request_.method = "POST";
    request_.path = line.url;
    request_.peer = "batch";
    request_.headers = {{"content-type", "application/json"}, {"content-length", std::to_string(line.body.size())}};
  }
  HttpRequest& request() override { return request_; }
  // Never inside the call that asked.
  void respond(HttpResponse response) override {
    if (!done_) return;
    loop_.post([done = std::exchange(done_, nullptr), response = std::move(response)] { done(response); });
  }
  void begin_stream(const std::string&, const Headers&) override {
    HttpResponse refused;
    refused.status = 400;
    refused.body = "this answer is a stream, which has no place in a batch";
    respond(std::move(refused));
  }
  void send(std::string_view) override {}
  void end_stream() override {}
  bool open() const override { return done_ != nullptr; }
  void on_gone(std::function<void(const char*)>) override {}
  void on_pressure(std::function<void(bool)>) override {}

 private:
  IoLoop& loop_;
  HttpRequest request_;
  std::function<void(HttpResponse)> done_;
};

}  // namespace foregate
