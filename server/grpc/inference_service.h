// The calls of foregate.v1.Inference. Each begins on a thread of gRPC, passes the key and the count of calls, and goes
// on on the loop thread. Inner part of server/grpc.
#pragma once

#include <foregate/v1/inference.grpc.pb.h>

#include <atomic>
#include <memory>
#include <string>
#include <unordered_map>

#include "engine/base/metrics.h"
#include "server/generate/frontend.h"
#include "server/grpc/generate_call.h"
#include "server/grpc/grpc_server.h"
#include "server/ops/auth.h"

namespace foregate {

// Generate has its own thread (CallQueue), for its many messages; the others are answered by gRPC's.
using InferenceMethods = v1::Inference::WithAsyncMethod_Generate<
    v1::Inference::WithCallbackMethod_Abort<v1::Inference::WithCallbackMethod_Tokenize<
        v1::Inference::WithCallbackMethod_Detokenize<v1::Inference::WithCallbackMethod_HealthCheck<
            v1::Inference::WithCallbackMethod_GetModelInfo<v1::Inference::WithCallbackMethod_GetServerInfo<
                v1::Inference::WithCallbackMethod_GetLoads<v1::Inference::Service>>>>>>>>;

class InferenceService final : public InferenceMethods {
 public:
  InferenceService(IoLoop& loop, Frontend& frontend, const GrpcOptions& options, Metrics& metrics);
  ~InferenceService() override;  // on the loop thread
  std::size_t open_calls() const { return open_calls_.load(); }
  void end_all();  // Generate calls end with UNAVAILABLE; loop thread

  void accept_generate(std::shared_ptr<CallQueue> queue);  // once the server listens

  grpc::ServerUnaryReactor* Abort(grpc::CallbackServerContext* context, const v1::AbortRequest* request,
                                  v1::AbortResponse* response) override;
  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context, const v1::TokenizeRequest* request,
                                     v1::TokenizeResponse* response) override;
  grpc::ServerUnaryReactor* Detokenize(grpc::CallbackServerContext* context, const v1::DetokenizeRequest* request,
                                       v1::DetokenizeResponse* response) override;
  grpc::ServerUnaryReactor* HealthCheck(grpc::CallbackServerContext* context, const v1::HealthCheckRequest* request,
                                        v1::HealthCheckResponse* response) override;
  grpc::ServerUnaryReactor* GetModelInfo(grpc::CallbackServerContext* context, const v1::GetModelInfoRequest* request,
                                         v1::GetModelInfoResponse* response) override;
  grpc::ServerUnaryReactor* GetServerInfo(grpc::CallbackServerContext* context, const v1::GetServerInfoRequest* request,
                                          v1::GetServerInfoResponse* response) override;
  grpc::ServerUnaryReactor* GetLoads(grpc::CallbackServerContext* context, const v1::GetLoadsRequest* request,
                                     v1::GetLoadsResponse* response) override;

 private:
  using Unary = std::function<void(std::function<void(const Status&)> done)>;
  // Runs `body` on the loop; it calls `done` once, there. `open`: needs no key and no model.
  grpc::ServerUnaryReactor* unary(grpc::CallbackServerContext* context, const char* method, bool open, Unary body);
  bool allowed(const grpc::ServerContextBase& context) const;
  Caller caller_of(const grpc::ServerContextBase& context) const;  // as Caller has it
  bool enter();  // false when too many calls are open; true needs a leave()
  void leave(const char* method, grpc::StatusCode code);
  void count(const char* method, grpc::StatusCode code);
  void accepted(const std::shared_ptr<GenerateCall>& call);  // queue's thread
  void ended(GenerateCall& call, grpc::StatusCode code);
  void begin(const std::shared_ptr<GenerateCall>& call);
  grpc::Status take_id(const std::string& id, const std::shared_ptr<GenerateCall>& call);
  void forget(const std::string& id);  // unless it is that of an open call

  IoLoop& loop_;
  Frontend& frontend_;
  const GrpcOptions& options_;
  Metrics& metrics_;
  Auth auth_;
  TimeNs started_;
  std::atomic<std::size_t> open_calls_{0};
  struct Running {
    std::shared_ptr<GenerateCall> call;
    std::weak_ptr<Generation> generation;
  };
  std::unordered_map<std::string, Running> running_;  // by the caller's id; loop thread
  struct Open {
    std::weak_ptr<GenerateCall> call;
    bool entered = false;        // counted in open_calls_
    std::shared_ptr<void> held;  // what the client's gate gives, as long as the call
  };
  std::unordered_map<GenerateCall*, Open> calls_;  // not yet let go; loop thread
  std::shared_ptr<bool> alive_;                    // loop thread; false once this is gone
};

}  // namespace foregate
