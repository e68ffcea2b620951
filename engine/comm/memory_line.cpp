#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "engine/comm/byte_line.h"

namespace foregate {
namespace {

// What both ends share: a queue for each direction.
struct Wire {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<Message> queues[2];
  bool closed = false;
};

class MemoryLine final : public RankLine {
 public:
  MemoryLine(std::shared_ptr<Wire> wire, int end) : wire_(std::move(wire)), end_(end) {}
  ~MemoryLine() override { close(); }

  Status send(MessageKind kind, std::uint64_t epoch, std::span<const std::byte> body, TimeNs) override {
    const std::lock_guard lock(wire_->mutex);
    if (wire_->closed) return line_closed();
    wire_->queues[1 - end_].push_back({kind, epoch, {body.begin(), body.end()}});
    wire_->changed.notify_all();
    return {};
  }

  Result<Message> receive(const MessageBounds& bounds, TimeNs deadline) override {
    std::unique_lock lock(wire_->mutex);
    std::deque<Message>& queue = wire_->queues[end_];
    const auto ready = [&] { return wire_->closed || !queue.empty(); };
    if (deadline == kNoDeadline) {
      wire_->changed.wait(lock, ready);
    } else if (!wire_->changed.wait_for(lock, std::chrono::nanoseconds(deadline - system_clock().now()), ready)) {
      wire_->closed = true;
      return peer_late();
    }
    if (queue.empty()) return line_closed();
    Message message = std::move(queue.front());
    queue.pop_front();
    const Status fits = check_header({message.kind, message.epoch, message.body.size()}, bounds);
    if (fits.ok()) return message;
    wire_->closed = true;
    return fits;
  }

  void close() override {
    const std::lock_guard lock(wire_->mutex);
    wire_->closed = true;
    wire_->changed.notify_all();
  }

 private:
  std::shared_ptr<Wire> wire_;
  int end_;
};

}  // namespace

LinePair memory_line() {
  auto wire = std::make_shared<Wire>();
  return {std::make_unique<MemoryLine>(wire, 0), std::make_unique<MemoryLine>(wire, 1)};
}

}  // namespace foregate
