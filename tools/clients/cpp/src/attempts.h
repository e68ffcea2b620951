// The attempts of one call against its timeout, and what an ended one says. Inner part of the client; one thread,
// except stop().
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "foregate/client.h"

namespace foregate::client {

// What the status and the trailing metadata of an ended attempt say.
Error error_of(const grpc::Status& status, const grpc::ClientContext& context);

// How long to wait after `made` attempts, of which the last one ended so; absent: give up. `pushback`: what the server
// said, empty for nothing. `random` is between 0 and 1.
std::optional<Duration> wait_before_next(const RetryPolicy& policy, int made, Code code, const std::string& pushback,
                                         double random);

class Attempts {
 public:
  Attempts(const ClientOptions& options, const CallOptions& call);
  // The context of the attempt that begins now, cancelled at once after stop().
  grpc::ClientContext& begin();
  grpc::ClientContext& context() { return *context_; }
  // After an attempt that ended badly: waits and gives true when there is time for another one; else error() is set.
  bool again(const grpc::Status& status);
  void fail(const grpc::Status& status);  // ends here: error() is set
  const Error& error() const { return error_; }
  void stop();  // any thread: ends the attempt, or the wait for the next one

 private:
  const RetryPolicy policy_;
  const std::string authorization_;
  std::optional<std::chrono::system_clock::time_point> deadline_;
  int made_ = 0;
  Error error_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopped_ = false;
  std::unique_ptr<grpc::ClientContext> context_;
};

}  // namespace foregate::client
