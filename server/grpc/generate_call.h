// One Generate call as gRPC sees it: writes messages one after another and ends the call exactly once. Functions are
// for the loop thread; gRPC's own threads call the On... reactions. Inner part of server/grpc.
#pragma once

#include <foregate/v1/inference.grpc.pb.h>
#include <grpcpp/support/server_callback.h>

#include <deque>
#include <functional>
#include <memory>
#include <mutex>

#include "server/net/io.h"

namespace foregate {

struct StreamLimits {
  std::size_t buffer_bytes = 32768;  // pressure above; ended at sixteen times as much
  double stall_timeout = 30;         // a client that takes nothing this long, under pressure or at the end, is dropped
};

class GenerateCall final : public grpc::ServerWriteReactor<v1::GenerateResponse>,
                           public std::enable_shared_from_this<GenerateCall> {
 public:
  using OnEnd = std::function<void(GenerateCall*, grpc::StatusCode)>;
  // `on_end` runs on the loop once gRPC has let go of the call.
  static std::shared_ptr<GenerateCall> make(IoLoop& loop, grpc::CallbackServerContext& context, StreamLimits limits,
                                            OnEnd on_end);

  grpc::CallbackServerContext& context() { return context_; }  // until finish()
  bool open() const;                                           // neither finished nor left by the client
  // Called once, soon, when the client has gone or reads too slowly; at once when it has gone already.
  void on_gone(std::function<void()> handler);
  void on_pressure(std::function<void(bool pressed)> handler);
  void send(v1::GenerateResponse message);
  void finish(grpc::Status status);  // after the messages sent so far; later calls do nothing

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  GenerateCall(IoLoop& loop, grpc::CallbackServerContext& context, StreamLimits limits, OnEnd on_end);
  void client_left();
  void set_pressed(bool pressed);
  void arm_stall_timer();
  void on_stall_timer();
  void drop_slow_client();

  IoLoop& loop_;
  grpc::CallbackServerContext& context_;
  StreamLimits limits_;
  OnEnd on_end_;
  std::shared_ptr<GenerateCall> self_;  // held until OnDone

  mutable std::mutex mutex_;  // guards what follows, up to the handlers
  std::deque<v1::GenerateResponse> queue_;
  std::size_t queued_bytes_ = 0;
  std::uint64_t written_ = 0;  // messages that have left
  bool writing_ = false;
  bool pressed_ = false;
  bool gone_ = false;
  bool finishing_ = false;
  bool finished_ = false;
  bool cancelling_ = false;  // the context is in use: the end waits
  grpc::Status status_;

  std::function<void()> gone_handler_;  // loop thread
  std::function<void(bool)> pressure_handler_;
  std::unique_ptr<Timer> stall_timer_;
  std::uint64_t written_when_armed_ = 0;
};

}  // namespace foregate
