// One Generate call as gRPC sees it: writes messages one after another and ends the call exactly once. Functions are
// for the loop thread unless they say otherwise; reading, writing and ending happen on the thread of the CallQueue.
// Inner part of server/grpc.
#pragma once

#include <foregate/v1/inference.grpc.pb.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/async_stream.h>

#include <deque>
#include <functional>
#include <memory>
#include <mutex>

#include "server/grpc/call_queue.h"
#include "server/net/io.h"

namespace foregate {

struct StreamLimits {
  std::size_t buffer_bytes = 32768;  // pressure above; ended at sixteen times as much
  double stall_timeout = 30;         // a client that takes nothing this long, under pressure or at the end, is dropped
};

class GenerateCall final : public QueueWork, public std::enable_shared_from_this<GenerateCall> {
 public:
  using OnBegin = std::function<void(const std::shared_ptr<GenerateCall>&)>;
  using OnEnd = std::function<void(GenerateCall*, grpc::StatusCode)>;
  // Asks for one call by `accept` (RequestGenerate of the service). `on_begin` runs on the queue's thread when there is
  // one, `on_end` on the loop once gRPC has let go of it; neither if the server ends before.
  struct Accept {
    std::function<void(grpc::ServerContext*, v1::GenerateRequest*, grpc::ServerAsyncWriter<v1::GenerateResponse>*,
                       grpc::ServerCompletionQueue*, void* tag)>
        ask;
    OnBegin on_begin;
    OnEnd on_end;
  };
  static void accept(IoLoop& loop, std::shared_ptr<CallQueue> queue, StreamLimits limits, Accept accept);

  grpc::ServerContext& context() { return context_; }
  const v1::GenerateRequest& request() const { return request_; }
  bool open() const;  // neither finished nor left by the client
  // Called once, soon, when the client has gone or reads too slowly; at once when it has gone already.
  void on_gone(std::function<void()> handler);
  void on_pressure(std::function<void(bool pressed)> handler);
  void send(v1::GenerateResponse message);
  void finish(grpc::Status status);  // after the messages sent so far; later calls do nothing

  void advance() override;

 private:
  GenerateCall(IoLoop& loop, std::shared_ptr<CallQueue> queue, StreamLimits limits, Accept accept);
  void on_accepted(bool ok);  // these four on the queue's thread
  void on_written(bool ok);
  void on_finished();
  void on_done();
  void let_go();
  void client_left();
  void set_pressed(bool pressed);
  void arm_stall_timer();
  void on_stall_timer();
  void drop_slow_client();

  struct Queued {
    v1::GenerateResponse message;
    std::size_t bytes = 0;
  };

  IoLoop& loop_;
  std::shared_ptr<CallQueue> queue_;
  StreamLimits limits_;
  Accept accept_;
  std::shared_ptr<GenerateCall> self_;  // held until gRPC has let go
  CallQueue::Tag accepted_tag_, written_tag_, finished_tag_, done_tag_;
  int awaited_ = 2;  // of the last two tags; queue's thread

  grpc::ServerContext context_;
  v1::GenerateRequest request_;
  grpc::ServerAsyncWriter<v1::GenerateResponse> writer_{&context_};

  mutable std::mutex mutex_;  // guards what follows, up to the handlers
  std::deque<Queued> messages_;
  std::size_t queued_bytes_ = 0;
  std::uint64_t written_ = 0;  // messages that have left
  bool busy_ = false;          // advance() will come, or a write is under way
  bool pressed_ = false;
  bool gone_ = false;
  bool finishing_ = false;
  grpc::Status status_;

  std::function<void()> gone_handler_;  // loop thread
  std::function<void(bool)> pressure_handler_;
  std::unique_ptr<Timer> stall_timer_;
  std::uint64_t written_when_armed_ = 0;
};

}  // namespace foregate
