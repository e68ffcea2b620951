// The socket seam without sockets: a loop that the test turns by hand, a clock that the test moves,
// and connections whose other end the test holds. Nothing happens by itself; posts may come from
// other threads.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "server/net/io.h"

namespace foregate::test {

class MemoryLoop final : public IoLoop {
 public:
  void post(std::function<void()> task) override {
    {
      std::lock_guard lock(mutex_);
      tasks_.push_back(std::move(task));
    }
    ready_.notify_all();
  }
  std::unique_ptr<Timer> make_timer() override { return std::make_unique<MemoryTimer>(*this); }
  const Clock& clock() const override { return clock_; }

  // Runs tasks until none waits.
  void turn() {
    while (run_one()) {
    }
  }
  // Runs tasks until `done`, waiting for other threads; false after 10 s.
  bool turn_until(const std::function<bool()>& done) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!done()) {
      if (run_one()) continue;
      std::unique_lock lock(mutex_);
      if (!ready_.wait_until(lock, until, [this] { return !tasks_.empty(); })) return done();
    }
    return true;
  }
  // Moves the clock; timers that come due fire in order.
  void advance(double seconds) {
    const TimeNs end = clock_.time + static_cast<TimeNs>(seconds * 1e9);
    turn();
    while (!timers_.empty() && timers_.begin()->first.first <= end) {
      clock_.time = timers_.begin()->first.first;
      auto fire = std::move(timers_.begin()->second.second);
      timers_.erase(timers_.begin());
      fire();
      turn();
    }
    clock_.time = end;
  }

 private:
  struct ManualClock final : Clock {
    TimeNs time = 1'000'000'000;
    TimeNs now() const override { return time; }
    std::int64_t wall_seconds() const override { return 1'700'000'000; }
  };
  using Key = std::pair<TimeNs, std::uint64_t>;

  class MemoryTimer final : public Timer {
   public:
    explicit MemoryTimer(MemoryLoop& loop) : loop_(loop) {}
    ~MemoryTimer() override { cancel(); }
    void arm(double delay_seconds, std::function<void()> fire) override {
      cancel();
      key_ = {loop_.clock_.time + static_cast<TimeNs>(delay_seconds * 1e9), ++loop_.next_timer_};
      loop_.timers_[key_] = {this, std::move(fire)};
    }
    void cancel() override { loop_.timers_.erase(key_); }

   private:
    MemoryLoop& loop_;
    Key key_{0, 0};
  };

  bool run_one() {
    std::function<void()> task;
    {
      std::lock_guard lock(mutex_);
      if (tasks_.empty()) return false;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    task();
    return true;
  }

  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<std::function<void()>> tasks_;
  ManualClock clock_;
  std::map<Key, std::pair<MemoryTimer*, std::function<void()>>> timers_;
  std::uint64_t next_timer_ = 0;
};

// The server's end; the test is the client.
class MemoryConnection final : public Connection, public std::enable_shared_from_this<MemoryConnection> {
 public:
  explicit MemoryConnection(MemoryLoop& loop) : loop_(loop) {}

  void read_some(ReadHandler handler) override {
    reader_ = std::move(handler);
    deliver();
  }
  void write_some(std::string_view bytes, WriteHandler handler) override {
    pending_ = bytes;
    writer_ = std::move(handler);
    accept();
  }
  std::size_t write_now(std::string_view bytes) override {
    if (!direct || closed) return 0;
    const std::size_t count = std::min(window, bytes.size());
    received.append(bytes.substr(0, count));
    window -= count;
    writes += count > 0;
    return count;
  }
  void shutdown_send() override { send_ended = true; }
  void close() override {
    if (closed) return;
    closed = true;
    loop_.post([reader = std::exchange(reader_, nullptr), writer = std::exchange(writer_, nullptr)] {
      const Status status(Code::kCancelled, "closed");
      if (reader) reader(status, {});
      if (writer) writer(status, 0);
    });
  }
  std::string peer() const override { return "test:1"; }

  // Client side.
  void send(std::string_view bytes) {
    incoming_.append(bytes);
    deliver();
  }
  void hang_up() {
    hung_up_ = true;
    deliver();
  }
  void allow(std::size_t bytes) {  // how much more the client is willing to read
    window += bytes;
    accept();
  }

  std::string received;
  std::size_t window = static_cast<std::size_t>(-1) / 2;
  std::size_t largest_read = 16384;  // bytes given to the server at once
  bool direct = true;                // takes bytes at once, as the kernel does
  int writes = 0;                    // so many times
  bool closed = false;
  bool send_ended = false;

 private:
  void deliver() {
    if (!reader_ || closed || (incoming_.empty() && !hung_up_)) return;
    loop_.post([self = shared_from_this()] {
      if (!self->reader_ || self->closed) return;
      const std::string bytes = self->incoming_.substr(0, self->largest_read);
      self->incoming_.erase(0, bytes.size());
      std::exchange(self->reader_, nullptr)(Status(), bytes);
    });
  }
  void accept() {
    if (!writer_ || closed || window == 0) return;
    loop_.post([self = shared_from_this()] {
      if (!self->writer_ || self->closed || self->window == 0) return;
      const std::size_t count = std::min(self->window, self->pending_.size());
      self->received.append(self->pending_.substr(0, count));
      self->window -= count;
      std::exchange(self->writer_, nullptr)(Status(), count);
    });
  }

  MemoryLoop& loop_;
  std::string incoming_;
  std::string_view pending_;
  ReadHandler reader_;
  WriteHandler writer_;
  bool hung_up_ = false;
};

}  // namespace foregate::test
