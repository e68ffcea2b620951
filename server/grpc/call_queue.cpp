#include "server/grpc/call_queue.h"

#include <utility>

namespace foregate {

std::shared_ptr<CallQueue> CallQueue::make(IoLoop& loop, std::unique_ptr<grpc::ServerCompletionQueue> queue) {
  return std::shared_ptr<CallQueue>(new CallQueue(loop, std::move(queue)));
}

CallQueue::CallQueue(IoLoop& loop, std::unique_ptr<grpc::ServerCompletionQueue> queue)
    : loop_(loop), queue_(std::move(queue)), alarm_tag_([this](bool) { work_off(); }), thread_([this] { run(); }) {}

CallQueue::~CallQueue() {
  close();
}

void CallQueue::run() {
  void* tag = nullptr;
  bool ok = false;
  while (queue_->Next(&tag, &ok)) (*static_cast<Tag*>(tag))(ok);
}

void CallQueue::run_soon(std::shared_ptr<QueueWork> work) {
  {
    std::lock_guard lock(mutex_);
    work_.push_back(std::move(work));
    if (std::exchange(posted_, true)) return;
  }
  loop_.post([weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->wake();
  });
}

void CallQueue::wake() {
  std::lock_guard lock(mutex_);
  posted_ = false;
  if (closed_ || std::exchange(woken_, true)) return;
  alarm_.Set(queue_.get(), gpr_inf_past(GPR_CLOCK_MONOTONIC), &alarm_tag_);
}

void CallQueue::work_off() {
  std::vector<std::shared_ptr<QueueWork>> work;
  {
    std::lock_guard lock(mutex_);
    woken_ = false;
    work.swap(work_);
  }
  for (const auto& one : work) one->advance();
}

void CallQueue::enter() {
  std::lock_guard lock(mutex_);
  ++calls_;
}

void CallQueue::leave() {
  std::lock_guard lock(mutex_);
  if (--calls_ <= 1) left_.notify_all();
}

void CallQueue::settle(std::chrono::milliseconds most) {
  std::unique_lock lock(mutex_);
  left_.wait_for(lock, most, [this] { return calls_ <= 1; });
}

void CallQueue::close() {
  {
    std::unique_lock lock(mutex_);
    if (closed_) return;
    left_.wait(lock, [this] { return calls_ == 0; });
    closed_ = true;  // not before: what is left needs its turns
  }
  queue_->Shutdown();
  thread_.join();
}

}  // namespace foregate
