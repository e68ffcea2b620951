#include "server/grpc/grpc_server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>
#include <utility>

#include "engine/api/limits.h"
#include "server/grpc/call_queue.h"
#include "server/grpc/inference_service.h"

namespace foregate {
namespace {

constexpr double kHealthSeconds = 0.5;  // how often the standard health service is told
constexpr int kMinPingMs = 10'000;      // pings more often than this are a flood
constexpr int kMaxPingStrikes = 4;
constexpr std::chrono::milliseconds kGoodbye{500};
constexpr unsigned kCertificateSeconds = 1;  // between looks at the certificate

std::string address(const GrpcOptions& options) {
  const bool v6 = options.host.find(':') != std::string::npos;
  return (v6 ? "[" + options.host + "]" : options.host) + ":" + std::to_string(options.port);
}

std::shared_ptr<grpc::ServerCredentials> credentials(const GrpcOptions& options) {
  if (options.key_and_chain_path.empty()) return grpc::InsecureServerCredentials();
  namespace tls = grpc::experimental;
  const std::string& pair = options.key_and_chain_path;
  tls::TlsServerCredentialsOptions chosen(
      std::make_shared<tls::FileWatcherCertificateProvider>(pair, pair, options.client_ca_path, kCertificateSeconds));
  chosen.watch_identity_key_cert_pairs();
  if (!options.client_ca_path.empty()) {
    chosen.watch_root_certs();
    chosen.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  }
  return tls::TlsServerCredentials(chosen);
}

class RunningServer final : public GrpcServer {
 public:
  RunningServer(IoLoop& loop, Frontend& frontend, GrpcOptions options, Metrics& metrics)
      : loop_(loop),
        frontend_(frontend),
        options_(std::move(options)),
        service_(loop, frontend, options_, metrics),
        health_timer_(loop.make_timer()) {}

  ~RunningServer() override {
    begin_shutdown();
    if (stopping_.joinable()) stopping_.join();
  }

  // Shutdown returns when every call has ended, and calls end on the loop. It cancels what is open, so Generate calls
  // have a moment to say why they end.
  void begin_shutdown() override {
    health_timer_->cancel();
    if (!server_ || stopping_.joinable()) return;
    service_.end_all();
    stopping_ = std::thread([this] {
      queue_->settle(kGoodbye);
      server_->Shutdown(std::chrono::system_clock::now());
      queue_->close();
      stopped_.store(true);
    });
  }
  bool stopped() const override { return stopped_.load(); }

  Status listen() {
    static std::once_flag once;
    std::call_once(once, [] {
      grpc::EnableDefaultHealthCheckService(true);
      grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    });
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort(address(options_), credentials(options_), &port);
    builder.RegisterService(&service_);
    builder.SetMaxReceiveMessageSize(static_cast<int>(std::min<std::size_t>(options_.max_message_bytes, 1u << 30)));
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);  // a port belongs to one server
    builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, int{kMaxGrpcStreams});
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kMinPingMs);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, kMaxPingStrikes);
    builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS,
                               std::max(1, static_cast<int>(options_.handshake_timeout * 1000)));
    builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, int{kMaxGrpcMetadataBytes});
    auto completions = builder.AddCompletionQueue();
    server_ = builder.BuildAndStart();
    queue_ = CallQueue::make(loop_, std::move(completions));
    if (!server_ || port == 0) {
      queue_->close();
      return unavailable("cannot listen for gRPC on " + address(options_));
    }
    port_ = static_cast<std::uint16_t>(port);
    service_.accept_generate(queue_);
    tell_health();
    return {};
  }

  std::uint16_t port() const override { return port_; }
  std::size_t open_calls() const override { return service_.open_calls(); }

 private:
  void tell_health() {
    server_->GetHealthCheckService()->SetServingStatus(frontend_.accepts());
    health_timer_->arm(kHealthSeconds, [this] { tell_health(); });
  }

  IoLoop& loop_;
  Frontend& frontend_;
  GrpcOptions options_;
  InferenceService service_;
  std::unique_ptr<Timer> health_timer_;
  std::shared_ptr<CallQueue> queue_;
  std::unique_ptr<grpc::Server> server_;
  std::uint16_t port_ = 0;
  std::thread stopping_;
  std::atomic<bool> stopped_{false};
};

}  // namespace

Result<std::unique_ptr<GrpcServer>> GrpcServer::start(IoLoop& loop, Frontend& frontend, GrpcOptions options,
                                                      Metrics& metrics) {
  auto server = std::make_unique<RunningServer>(loop, frontend, std::move(options), metrics);
  RETURN_IF_ERROR(server->listen());
  return std::unique_ptr<GrpcServer>(std::move(server));
}

}  // namespace foregate
