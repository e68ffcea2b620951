// A loop that is quicker than who posts to it: what other threads post has run, and is gone, before post() returns.
// The sanitizers then see what is still touched of what a task owned.
#pragma once

#include <atomic>
#include <future>
#include <memory>
#include <thread>
#include <utility>

#include "server/net/io.h"

namespace foregate::test {

class QuickLoop final : public IoLoop {
 public:
  explicit QuickLoop(IoLoop& loop) : loop_(loop) {}
  // From now on, while `runs` runs the loop; no id: as the loop itself.
  void be_quick(std::thread::id runs) { runs_ = runs; }
  int waits() const { return waits_; }

  void post(std::function<void()> task) override {
    const std::thread::id runs = runs_;
    if (runs == std::thread::id() || runs == std::this_thread::get_id()) return loop_.post(std::move(task));
    const auto done = std::make_shared<std::promise<void>>();
    auto waited = done->get_future();
    loop_.post([done, task = std::move(task)]() mutable {
      std::exchange(task, nullptr)();
      done->set_value();
    });
    waited.wait();
    ++waits_;
  }
  std::unique_ptr<Timer> make_timer() override { return loop_.make_timer(); }
  const Clock& clock() const override { return loop_.clock(); }

 private:
  IoLoop& loop_;
  std::atomic<std::thread::id> runs_{};
  std::atomic<int> waits_{0};
};

}  // namespace foregate::test
