#include "server/grpc/generate_call.h"

#include <utility>

namespace foregate {

std::shared_ptr<GenerateCall> GenerateCall::make(IoLoop& loop, grpc::CallbackServerContext& context,
                                                 StreamLimits limits, OnEnd on_end) {
  std::shared_ptr<GenerateCall> call(new GenerateCall(loop, context, limits, std::move(on_end)));
  call->self_ = call;
  return call;
}

GenerateCall::GenerateCall(IoLoop& loop, grpc::CallbackServerContext& context, StreamLimits limits, OnEnd on_end)
    : loop_(loop), context_(context), limits_(limits), on_end_(std::move(on_end)) {}

bool GenerateCall::open() const {
  std::lock_guard lock(mutex_);
  return !gone_ && !finishing_;
}

void GenerateCall::on_gone(std::function<void()> handler) {
  gone_handler_ = std::move(handler);
  if (!open()) client_left();
}

void GenerateCall::on_pressure(std::function<void(bool)> handler) {
  pressure_handler_ = std::move(handler);
}

void GenerateCall::send(v1::GenerateResponse message) {
  bool start = false, press = false, drop = false;
  {
    std::lock_guard lock(mutex_);
    if (gone_ || finishing_) return;
    queued_bytes_ += message.ByteSizeLong();
    queue_.push_back(std::move(message));
    start = !std::exchange(writing_, true);
    press = !pressed_ && queued_bytes_ > limits_.buffer_bytes;
    drop = queued_bytes_ > 16 * limits_.buffer_bytes;
    if (press) pressed_ = true;
  }
  if (start) StartWrite(&queue_.front());  // a deque keeps its elements in place while others are added behind
  if (press) set_pressed(true);
  if (drop) drop_slow_client();
}

void GenerateCall::finish(grpc::Status status) {
  bool now = false;
  {
    std::lock_guard lock(mutex_);
    if (std::exchange(finishing_, true)) return;
    status_ = std::move(status);
    now = finished_ = !writing_;  // else the last write ends it
  }
  if (now) {
    Finish(status_);
  } else {
    arm_stall_timer();
  }
}

void GenerateCall::OnWriteDone(bool ok) {
  bool next = false, end = false, release = false;
  {
    std::lock_guard lock(mutex_);
    queued_bytes_ -= queue_.front().ByteSizeLong();
    queue_.pop_front();
    ++written_;
    if (!ok) queue_.clear(), queued_bytes_ = 0;
    next = !queue_.empty();
    writing_ = next;
    release = pressed_ && queued_bytes_ < limits_.buffer_bytes / 2;
    if (release) pressed_ = false;
    end = !next && finishing_ && !cancelling_ && !std::exchange(finished_, true);
  }
  if (next) StartWrite(&queue_.front());
  if (release) loop_.post([self = shared_from_this()] { self->set_pressed(false); });
  if (end) Finish(status_);
}

void GenerateCall::OnCancel() {
  {
    std::lock_guard lock(mutex_);
    gone_ = true;
  }
  loop_.post([self = shared_from_this()] { self->client_left(); });
}

void GenerateCall::OnDone() {
  loop_.post([self = std::move(self_)] {
    self->gone_handler_ = nullptr;
    self->pressure_handler_ = nullptr;
    self->stall_timer_ = nullptr;
    if (self->on_end_) std::exchange(self->on_end_, nullptr)(self.get(), self->status_.error_code());
  });
}

void GenerateCall::client_left() {
  if (gone_handler_) std::exchange(gone_handler_, nullptr)();
  finish(grpc::Status(grpc::StatusCode::CANCELLED, "the client has gone"));
}

void GenerateCall::set_pressed(bool pressed) {
  if (pressure_handler_) pressure_handler_(pressed);
  if (pressed) {
    arm_stall_timer();
  } else if (stall_timer_) {
    stall_timer_->cancel();
  }
}

void GenerateCall::arm_stall_timer() {
  if (!stall_timer_) stall_timer_ = loop_.make_timer();
  {
    std::lock_guard lock(mutex_);
    written_when_armed_ = written_;
  }
  stall_timer_->arm(limits_.stall_timeout, [weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->on_stall_timer();
  });
}

void GenerateCall::on_stall_timer() {
  bool moved = false, waits = false;
  {
    std::lock_guard lock(mutex_);
    moved = written_ != written_when_armed_;
    waits = writing_ && (pressed_ || finishing_);
  }
  if (!waits) return;
  if (moved) return arm_stall_timer();
  drop_slow_client();
}

// A write that the client does not take is ended by cancelling the call. The call cannot end meanwhile: its context is
// used.
void GenerateCall::drop_slow_client() {
  {
    std::lock_guard lock(mutex_);
    gone_ = true;
    if (finished_) return;
    cancelling_ = true;
  }
  context_.TryCancel();
  bool end = false;
  {
    std::lock_guard lock(mutex_);
    cancelling_ = false;
    end = finishing_ && !writing_ && !std::exchange(finished_, true);
  }
  if (end) return Finish(status_);
  client_left();
}

}  // namespace foregate
