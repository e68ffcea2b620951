// The gRPC front: service foregate.v1.Inference of proto/, the standard health service and reflection. gRPC runs its
// own threads; what touches a request happens on the loop thread, shared with HTTP through the Frontend.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/base/metrics.h"
#include "engine/base/status.h"
#include "server/generate/frontend.h"
#include "server/net/io.h"
#include "server/ops/client_gate.h"

namespace foregate {

struct GrpcOptions {
  std::string host = "127.0.0.1";
  std::uint16_t port = 0;  // 0: any free one
  std::vector<std::string> api_keys;
  std::string admin_key;          // opens what the others do
  ClientGate* clients = nullptr;  // how much each client may ask; null: as it likes
  std::size_t max_message_bytes = 4u << 20;
  std::size_t max_calls = 1024;  // open at once
  std::size_t stream_buffer_bytes = 32768;
  double stall_timeout = 30;
  std::string version;
  // PEM, the key first; read again every second: it must never hold a pair that does not belong together. Empty: plain.
  std::string key_and_chain_path;
  std::string client_ca_path;     // PEM; only clients with a certificate of one of these are served; empty: any client
  double handshake_timeout = 10;  // seconds, of HTTP/2 and TLS
  double request_timeout = 0;     // seconds a call may take; 0: as long as its caller lets it
};

class GrpcServer {
 public:
  // kUnavailable when the address is in use. `loop` and `frontend` outlive it.
  static Result<std::unique_ptr<GrpcServer>> start(IoLoop& loop, Frontend& frontend, GrpcOptions options,
                                                   Metrics& metrics);
  // Waits for gRPC's threads: the loop must have run until stopped() after begin_shutdown().
  virtual ~GrpcServer() = default;
  virtual void begin_shutdown() = 0;  // ends open calls
  virtual bool stopped() const = 0;
  virtual std::uint16_t port() const = 0;
  virtual std::size_t open_calls() const = 0;
};

}  // namespace foregate
