// A client of a Foregate server over gRPC (service foregate.v1.Inference). A Client may be used by many threads at once
// and shares one connection among them; calls block the thread that makes them. C++17, no header of gRPC.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "foregate/client_types.h"

namespace foregate::client {

// A call that ends with UNAVAILABLE (loading, draining, nobody there), or with RESOURCE_EXHAUSTED (full) and a hint
// when to come back ("grpc-retry-pushback-ms", gRFC A6), is tried again before its first message has come: after the
// time that the server asks for, else after `first_wait`, doubled each time, up to half of it less at random.
struct RetryPolicy {
  int attempts = 4;  // in all; 1: none is tried again
  Duration first_wait{500};
  Duration longest_wait{30'000};  // who asks for more is not asked again
};

struct ClientOptions {
  std::string target = "127.0.0.1:50051";
  std::string api_key = {};              // sent as "authorization: Bearer"; empty: none
  bool tls = false;                      // for a proxy that ends TLS in front of the server
  std::string root_certificates = {};    // PEM, with tls; empty: those of the system
  std::optional<Duration> timeout = {};  // of calls that bring none; absent: as long as it takes
  RetryPolicy retry = {};
  std::size_t max_message_bytes = 64u << 20;
};

struct CallOptions {
  std::optional<Duration> timeout = {};  // bounds the call with all of its attempts, and is the server's deadline too
};

// The deltas of one call. What has not ended when it is destroyed is cancelled, and the server frees its work.
class Stream {
 public:
  Stream(Stream&&) noexcept;
  Stream& operator=(Stream&&) noexcept;
  ~Stream();
  // Waits for the next one. False: the call has ended, well or with error().
  bool next(Delta& delta);
  // How the call has ended; kOk while it has not. Good once next() has given false.
  const Error& error() const;
  void cancel();  // any thread; next() then gives false, with kCancelled

 private:
  friend class Client;
  class Call;
  explicit Stream(std::shared_ptr<Call> call);
  std::shared_ptr<Call> call_;
};

class Client {
 public:
  explicit Client(ClientOptions options = {});  // connects when first needed
  ~Client();                                    // its streams may outlive it
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  Result<Reply> generate(const GenerateRequest& request, const CallOptions& call = {});
  Stream stream(const GenerateRequest& request, const CallOptions& call = {});
  // Ends a running call by the request_id it was given; false: none has it.
  Result<bool> abort(const std::string& request_id, const CallOptions& call = {});
  // `prompt` is text or a chat; kInvalidArgument for token ids.
  Result<Tokens> tokenize(const Prompt& prompt, std::optional<bool> add_special_tokens = {},
                          const CallOptions& call = {});
  Result<std::string> detokenize(const TokenIds& ids, const CallOptions& call = {});
  Result<Health> health(const CallOptions& call = {});  // needs no key
  Result<ModelInfo> model_info(const CallOptions& call = {});
  Result<ServerInfo> server_info(const CallOptions& call = {});
  Result<Loads> loads(const CallOptions& call = {});

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace foregate::client
