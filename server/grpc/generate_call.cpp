#include "server/grpc/generate_call.h"

#include <utility>

namespace foregate {

void GenerateCall::accept(IoLoop& loop, std::shared_ptr<CallQueue> queue, StreamLimits limits, Accept accept) {
  std::shared_ptr<GenerateCall> call(new GenerateCall(loop, std::move(queue), limits, std::move(accept)));
  call->self_ = call;
  call->queue_->enter();
  call->context_.AsyncNotifyWhenDone(&call->done_tag_);
  call->accept_.ask(&call->context_, &call->request_, &call->writer_, &call->queue_->completions(),
                    &call->accepted_tag_);
}

GenerateCall::GenerateCall(IoLoop& loop, std::shared_ptr<CallQueue> queue, StreamLimits limits, Accept accept)
    : loop_(loop),
      queue_(std::move(queue)),
      limits_(limits),
      accept_(std::move(accept)),
      accepted_tag_([this](bool ok) { on_accepted(ok); }),
      written_tag_([this](bool ok) { on_written(ok); }),
      finished_tag_([this](bool) { on_finished(); }),
      done_tag_([this](bool) { on_done(); }) {}

void GenerateCall::on_accepted(bool ok) {
  if (!ok) {  // the server ends; no other tag comes
    queue_->leave();
    self_ = nullptr;
    return;
  }
  accept(loop_, queue_, limits_, accept_);
  accept_.on_begin(self_);
}

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
    const std::size_t bytes = message.ByteSizeLong();
    queued_bytes_ += bytes;
    messages_.push_back({std::move(message), bytes});
    start = !std::exchange(busy_, true);
    press = !pressed_ && queued_bytes_ > limits_.buffer_bytes;
    drop = queued_bytes_ > 16 * limits_.buffer_bytes;
    if (press) pressed_ = true;
  }
  if (start) queue_->run_soon(shared_from_this());
  if (press) set_pressed(true);
  if (drop) drop_slow_client();
}

void GenerateCall::finish(grpc::Status status) {
  bool start = false;
  {
    std::lock_guard lock(mutex_);
    if (std::exchange(finishing_, true)) return;
    status_ = std::move(status);
    start = !std::exchange(busy_, true);
  }
  if (start) {
    queue_->run_soon(shared_from_this());
  } else {
    arm_stall_timer();  // the write under way may never be taken
  }
}

// Starts what is next: a write, or the end.
void GenerateCall::advance() {
  const v1::GenerateResponse* next = nullptr;
  {
    std::lock_guard lock(mutex_);
    if (!messages_.empty()) {
      next = &messages_.front().message;  // a deque keeps its elements in place while others are added behind
    } else if (!finishing_) {
      busy_ = false;
      return;
    }
  }
  next ? writer_.Write(*next, &written_tag_) : writer_.Finish(status_, &finished_tag_);
}

void GenerateCall::on_written(bool ok) {
  bool release = false;
  {
    std::lock_guard lock(mutex_);
    queued_bytes_ -= messages_.front().bytes;
    messages_.pop_front();
    ++written_;
    if (!ok) messages_.clear(), queued_bytes_ = 0;
    release = pressed_ && queued_bytes_ < limits_.buffer_bytes / 2;
    if (release) pressed_ = false;
  }
  if (release) loop_.post([self = shared_from_this()] { self->set_pressed(false); });
  advance();
}

void GenerateCall::on_finished() {
  let_go();
}

// The client has taken the end, or has gone, or a deadline has passed.
void GenerateCall::on_done() {
  if (context_.IsCancelled()) {
    {
      std::lock_guard lock(mutex_);
      gone_ = true;
    }
    loop_.post([self = shared_from_this()] { self->client_left(); });
  }
  let_go();
}

void GenerateCall::let_go() {
  if (--awaited_ > 0) return;
  const std::shared_ptr<CallQueue> queue = queue_;  // the loop may be done with the call before post() returns
  loop_.post([self = std::move(self_)] {
    self->gone_handler_ = nullptr;
    self->pressure_handler_ = nullptr;
    self->stall_timer_ = nullptr;
    self->accept_.on_end(self.get(), self->status_.error_code());
  });
  queue->leave();
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
    waits = busy_ && (pressed_ || finishing_);
  }
  if (!waits) return;
  if (moved) return arm_stall_timer();
  drop_slow_client();
}

// A write that the client does not take is ended by cancelling the call.
void GenerateCall::drop_slow_client() {
  {
    std::lock_guard lock(mutex_);
    gone_ = true;
  }
  context_.TryCancel();
  client_left();
}

}  // namespace foregate
