// The thread on which Generate calls write, with gRPC's completion queue. What a turn of the loop gives to many calls
// wakes it once: with gRPC's own callback threads each message is a wake and a change of threads. Inner part of
// server/grpc.
#pragma once

#include <grpcpp/alarm.h>
#include <grpcpp/completion_queue.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "server/net/io.h"

namespace foregate {

class QueueWork {
 public:
  virtual ~QueueWork() = default;
  virtual void advance() = 0;  // on the queue's thread
};

class CallQueue : public std::enable_shared_from_this<CallQueue> {
 public:
  // What the completion queue gives back; run(ok) on the queue's thread.
  using Tag = std::function<void(bool ok)>;

  static std::shared_ptr<CallQueue> make(IoLoop& loop, std::unique_ptr<grpc::ServerCompletionQueue> queue);
  ~CallQueue();  // after close()

  grpc::ServerCompletionQueue& completions() { return *queue_; }
  // `work` advances after this turn of the loop, in order; any thread.
  void run_soon(std::shared_ptr<QueueWork> work);
  // A call from when it is asked for until its last tag came.
  void enter();
  void leave();
  // Waits until only the call that is asked for is left, for so long at most.
  void settle(std::chrono::milliseconds most);
  // Waits for the calls that are left, and ends the thread. After the server's Shutdown.
  void close();

 private:
  CallQueue(IoLoop& loop, std::unique_ptr<grpc::ServerCompletionQueue> queue);
  void run();
  void wake();
  void work_off();

  IoLoop& loop_;
  std::unique_ptr<grpc::ServerCompletionQueue> queue_;
  Tag alarm_tag_;
  grpc::Alarm alarm_;  // loop thread sets it; not again before it was seen
  std::mutex mutex_;   // guards what follows
  std::condition_variable left_;
  std::vector<std::shared_ptr<QueueWork>> work_;
  std::size_t calls_ = 0;
  bool posted_ = false;  // wake() is on its way to the loop
  bool woken_ = false;   // the alarm is set
  bool closed_ = false;
  std::thread thread_;
};

}  // namespace foregate
