#include "server/app/app.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "engine/base/log_fields.h"
#include "server/app/access.h"
#include "server/app/load_bar.h"
#include "server/files/file_service.h"
#include "server/generate/request_report.h"
#include "server/grpc/grpc_server.h"
#include "server/http/http_server.h"
#include "server/http/service.h"
#include "server/net/tcp.h"
#include "server/net/tls_store.h"
#include "server/ops/span_file.h"

namespace foregate {
namespace {

constexpr double kDrainPollSeconds = 0.02;
constexpr std::uint64_t kFormBytes = 65536;  // of an upload beside the file
constexpr double kFlushGraceSeconds = 2.0;   // for the error events of requests that a drain cut off

std::uint64_t upload_bytes(const ServeOptions& options) {
  return static_cast<std::uint64_t>(options.max_file_bytes) + kFormBytes;
}

HttpOptions http_options(const ServeOptions& options) {
  HttpOptions http;
  http.reader.header_bytes = static_cast<std::size_t>(options.max_header_bytes);
  http.reader.body_bytes = static_cast<std::uint64_t>(options.max_body_bytes);
  if (!options.files_dir.empty()) http.reader.body_bytes = std::max(http.reader.body_bytes, upload_bytes(options));
  http.max_body_bytes = static_cast<std::uint64_t>(options.max_body_bytes);
  http.total_body_bytes = static_cast<std::uint64_t>(options.max_total_body_bytes);
  http.max_connections = static_cast<std::size_t>(options.max_connections);
  http.header_timeout = options.header_timeout;
  http.body_timeout = options.body_timeout;
  http.idle_timeout = options.idle_timeout;
  http.stall_timeout = options.stall_timeout;
  http.stream_buffer_bytes = static_cast<std::size_t>(options.stream_buffer_bytes);
  return http;
}

ClientLimits client_limits(const ServeOptions& options) {
  return {options.client_requests_per_minute, options.client_concurrent_requests};
}

ServiceOptions service_options(const ServeOptions& options, ClientGate& clients) {
  ServiceOptions service;
  service.api_keys = options.api_key;
  service.admin_key = options.admin_api_key;
  service.allowed_origins = options.allowed_origins;
  service.clients = &clients;
  service.max_file_bytes = upload_bytes(options);
  service.log_requests = options.enable_log_requests;
  service.page = options.ui;
  service.slots = options.slots;
  service.version = FOREGATE_VERSION;
  service.request_timeout = options.request_timeout;
  return service;
}

FrontendOptions frontend_options(const ServeOptions& options) {
  return {static_cast<std::size_t>(options.worker_threads), static_cast<std::size_t>(options.max_num_queued_reqs)};
}

GrpcOptions grpc_options(const ServeOptions& options) {
  GrpcOptions grpc;
  grpc.host = options.host;
  grpc.port = static_cast<std::uint16_t>(options.grpc_port);
  grpc.api_keys = options.api_key;
  grpc.admin_key = options.admin_api_key;
  grpc.max_message_bytes = static_cast<std::size_t>(options.max_body_bytes);
  grpc.max_calls = static_cast<std::size_t>(options.max_connections);
  grpc.stream_buffer_bytes = static_cast<std::size_t>(options.stream_buffer_bytes);
  grpc.stall_timeout = options.stall_timeout;
  grpc.version = FOREGATE_VERSION;
  grpc.request_timeout = options.request_timeout;
  grpc.handshake_timeout = options.ssl_handshake_timeout;
  return grpc;
}

FileOptions file_options(const ServeOptions& options) {
  FileOptions files;
  files.folder = options.files_dir;
  files.store.file_bytes = static_cast<std::uint64_t>(options.max_file_bytes);
  files.store.total_bytes = static_cast<std::uint64_t>(options.max_files_bytes);
  files.store.files = static_cast<std::size_t>(options.max_files);
  files.batches.input.lines = static_cast<std::uint64_t>(options.max_batch_lines);
  files.batches.input.line_bytes = static_cast<std::uint64_t>(options.max_body_bytes);
  files.batches.in_flight = static_cast<std::size_t>(options.batch_concurrency);
  files.batches.open = static_cast<std::size_t>(options.max_open_batches);
  files.piece_bytes = static_cast<std::size_t>(std::min<std::int64_t>(65536, options.stream_buffer_bytes));
  return files;
}

TlsOptions tls_options(const ServeOptions& options) {
  TlsOptions tls;
  tls.files = {options.ssl_certfile, options.ssl_keyfile, options.ssl_ca_certs};
  tls.handshake_seconds = options.ssl_handshake_timeout;
  if (!options.enable_ssl_refresh) tls.look_seconds = 0;
  return tls;
}

std::string url(const ServeOptions& options, int port) {
  const bool v6 = options.host.find(':') != std::string::npos;
  std::string host = v6 ? "[" + options.host + "]" : options.host;
  if (host == "0.0.0.0" || host == "[::]") host = "localhost";
  return (options.ssl_certfile.empty() ? "http://" : "https://") + host + ":" + std::to_string(port);
}

// One run of the server. Members are destroyed from the last to the first: workers and the engine
// end while the loop they post to still exists.
class App {
 public:
  App(const ServeOptions& options, const BackendLoader& loader)
      : options_(options),
        loader_(loader),
        loop_(make_tcp_loop()),
        clients_(loop_->clock(), client_limits(options), metrics_),
        frontend_(*loop_, frontend_options(options)),
        service_(*loop_, frontend_, service_options(options, clients_), metrics_),
        http_(*loop_, http_options(options), service_.callbacks(), metrics_),
        drain_timer_(loop_->make_timer()) {}

  ~App() {
    if (loading_.joinable()) loading_.join();
  }

  int run() {
    if (const Status tls = open_tls(); !tls.ok()) {
      std::fprintf(stderr, "foregate: %s\n", tls.message().c_str());
      return 2;
    }
    if (const Status spans = open_report(); !spans.ok()) {
      std::fprintf(stderr, "foregate: %s\n", spans.message().c_str());
      return 2;
    }
    if (const Status files = open_files(); !files.ok()) {
      std::fprintf(stderr, "foregate: %s\n", files.message().c_str());
      return 2;
    }
    const TcpOptions tcp{options_.host, static_cast<std::uint16_t>(options_.port),
                         static_cast<int>(options_.socket_send_buffer_bytes)};
    auto listener = loop_->listen(tcp, [this](std::shared_ptr<Connection> connection) {
      http_.accept(tls_ ? tls_->secure(std::move(connection)) : std::move(connection));
    });
    if (!listener.ok()) {
      std::fprintf(stderr, "foregate: %s\n", listener.status().message().c_str());
      return listener.status().code() == Code::kInvalidArgument ? 2 : 1;
    }
    listener_ = std::move(listener).value();
    if (const Status grpc = listen_grpc(); !grpc.ok()) {
      std::fprintf(stderr, "foregate: --grpc-port: %s\n", grpc.message().c_str());
      return 1;
    }
    std::signal(SIGPIPE, SIG_IGN);  // a closed stdout or stderr must not end the server
    std::vector<int> signals = {SIGTERM, SIGINT};
    if (tls_) signals.push_back(SIGHUP);
    loop_->watch_signals(signals, [this](int signal) { signal == SIGHUP ? tls_->reload() : on_signal(signal); });
    if (!is_loopback(options_.host) && options_.api_key.empty()) {
      log_warn("--host " + options_.host + " without --api-key: whoever reaches this machine may use the model");
    }
    log_info("listening on " + url(options_, listener_->port()) + ", loading " + foregate::quoted(options_.model));
    loading_ = std::thread([this] { load(); });
    loop_->run();
    http_.close_all();
    end_grpc();
    end_engine();
    return exit_code_;
  }

 private:
  Status open_tls() {
    if (options_.ssl_certfile.empty() && options_.ssl_keyfile.empty() && options_.ssl_ca_certs.empty()) return {};
    for (const auto& [flag, path] :
         {std::pair{"--ssl-certfile", options_.ssl_certfile}, std::pair{"--ssl-keyfile", options_.ssl_keyfile}}) {
      if (path.empty()) return invalid_argument(std::string(flag) + " is missing: TLS needs a certificate and a key");
    }
    ASSIGN_OR_RETURN(tls_, TlsStore::open(*loop_, tls_options(options_), metrics_));
    return {};
  }

  Status open_report() {
    if (!options_.span_file.empty()) {
      ASSIGN_OR_RETURN(spans_, SpanFile::open(options_.span_file, FOREGATE_VERSION, metrics_));
    }
    if (!spans_ && !options_.enable_log_requests) return {};
    frontend_.set_report([report = RequestReport(options_.enable_log_requests, spans_.get())](
                             const GenerationEnd& end) { report.tell(end); });
    return {};
  }

  Status open_files() {
    if (options_.files_dir.empty()) return {};
    const auto client_of = [auth = Auth(options_.api_key, options_.admin_api_key)](const std::string& owner) {
      return static_cast<std::uint64_t>(auth.number_of(owner));
    };
    ASSIGN_OR_RETURN(files_, FileService::open(*loop_, frontend_, service_.callbacks(), client_of,
                                               file_options(options_), metrics_));
    service_.set_files(files_.get());
    return {};
  }

  // Who asked for no port of gRPC gets the server without it when another program has the usual one.
  Status listen_grpc() {
    if (!options_.grpc) return {};
    GrpcOptions grpc = grpc_options(options_);
    grpc.clients = &clients_;
    if (tls_) grpc.key_and_chain_path = tls_->key_and_chain_path();
    if (tls_) grpc.client_ca_path = tls_->client_ca_path();
    auto server = GrpcServer::start(*loop_, frontend_, std::move(grpc), metrics_);
    if (!server.ok()) {
      if (options_.grpc_port != ServeOptions().grpc_port) return server.status();
      log_warn(server.status().message() + ": no gRPC; choose another --grpc-port");
      return {};
    }
    grpc_ = std::move(server).value();
    log_info("gRPC listens on port " + std::to_string(grpc_->port()));
    return {};
  }

  // Calls end on the loop, so it runs until the last one has.
  void end_grpc() {
    if (!grpc_) return;
    frontend_.fail_open(unavailable("the server is shutting down"));
    grpc_->begin_shutdown();
    while (!grpc_->stopped()) {
      loop_->run_ready();
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    loop_->run_ready();
    grpc_ = nullptr;
  }

  // The engine ends here, while the loop that its last events are posted to still exists.
  void end_engine() {
    frontend_.fail_open(unavailable("the server is shutting down"));
    frontend_.release_backend();
    for (int i = 0; i < 400 && backend_.use_count() > 1; ++i) {
      loop_->run_ready();
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    backend_ = nullptr;
    loop_->run_ready();
  }

  void load() {
    LoadBar bar;
    auto served = std::make_shared<Result<std::shared_ptr<const ServedModel>>>(
        loader_(options_, metrics_, [&bar](std::string_view stage, double part) { bar.show(stage, part); }));
    bar.clear();
    loop_->post([this, served] { loaded(*served); });
  }

  void loaded(const Result<std::shared_ptr<const ServedModel>>& served) {
    if (!served.ok()) {
      std::fprintf(stderr, "foregate: cannot serve %s: %s\n", options_.model.c_str(),
                   served.status().to_string().c_str());
      const Code code = served.status().code();
      exit_code_ = code == Code::kInternal || code == Code::kUnavailable || code == Code::kResourceExhausted ? 1 : 2;
      return loop_->stop();
    }
    backend_ = served.value();
    frontend_.set_backend(backend_);
    const ServedModel& ready = *backend_;
    std::printf("Foregate %s serves %s at %s\n", FOREGATE_VERSION, ready.context.model_names[0].c_str(),
                url(options_, listener_->port()).c_str());
    for (const auto& [key, value] : ready.facts) {
      if (key == "device" || key == "isa_reason" || key == "weights")
        std::printf("  %s: %s\n", key.c_str(), value.c_str());
    }
    if (grpc_) std::printf("  gRPC: foregate.v1.Inference on port %d\n", grpc_->port());
    if (options_.ui) std::printf("  page: %s/\n", url(options_, listener_->port()).c_str());
    std::printf("Try:\n  %s\n", curl_line(options_, ready, listener_->port()).c_str());
    std::fflush(stdout);
  }

  void on_signal(int signal) {
    if (draining_ || !backend_) {
      log_warn(draining_ ? "second signal: leaving at once" : "signal while loading: leaving at once");
      std::fflush(nullptr);
      std::_Exit(draining_ ? 128 + signal : 0);
    }
    draining_ = true;
    if (options_.drain_delay <= 0) return begin_drain();
    log_info("signal: not ready from now on, draining in " + std::to_string(options_.drain_delay) + " s");
    frontend_.begin_leaving();
    drain_timer_->arm(options_.drain_delay, [this] { begin_drain(); });
  }

  void begin_drain() {
    drain_deadline_ = loop_->clock().now() + static_cast<TimeNs>(options_.shutdown_timeout * 1e9);
    log_info("draining, " + std::to_string(frontend_.open_answers()) + " requests are open");
    frontend_.begin_drain();
    if (files_) files_->begin_drain();
    http_.begin_drain();
    poll_drain();
  }

  void poll_drain() {
    const bool done = frontend_.open_answers() == 0 && http_.answering() == 0 && frontend_.engine_idle() &&
                      (!grpc_ || grpc_->open_calls() == 0);
    const TimeNs now = loop_->clock().now();
    if (done || (cut_off_ && now > drain_deadline_)) {
      log_info(cut_off_ ? "drained; requests that did not end in time were failed" : "drained");
      return loop_->stop();
    }
    if (!cut_off_ && now >= drain_deadline_) {
      cut_off_ = true;
      drain_deadline_ = now + static_cast<TimeNs>(kFlushGraceSeconds * 1e9);
      frontend_.fail_open(unavailable("the server is shutting down and did not finish this request in time"));
    }
    drain_timer_->arm(kDrainPollSeconds, [this] { poll_drain(); });
  }

  const ServeOptions& options_;
  const BackendLoader& loader_;
  Metrics metrics_;
  std::unique_ptr<TcpLoop> loop_;
  std::unique_ptr<TlsStore> tls_;    // none: plain
  std::unique_ptr<SpanFile> spans_;  // none: no --span-file
  ClientGate clients_;
  Frontend frontend_;
  Service service_;
  HttpServer http_;
  std::unique_ptr<FileService> files_;  // none: no --files-dir
  std::unique_ptr<GrpcServer> grpc_;    // none: turned off, or its usual port was taken
  std::unique_ptr<Listener> listener_;
  std::unique_ptr<Timer> drain_timer_;
  std::shared_ptr<const ServedModel> backend_;
  std::thread loading_;
  TimeNs drain_deadline_ = 0;
  bool draining_ = false;
  bool cut_off_ = false;
  int exit_code_ = 0;
};

}  // namespace

std::string curl_line(const ServeOptions& options, const ServedModel& served, int port) {
  const bool chat = served.chat_template != nullptr;
  std::string line = "curl -N " + url(options, port) + (chat ? "/v1/chat/completions" : "/v1/completions");
  line += " -H 'Content-Type: application/json'";
  if (!options.api_key.empty()) line += " -H 'Authorization: Bearer '\"$FOREGATE_API_KEY\"";
  const std::string& name = served.context.model_names[0];
  line += " -d '{\"model\": \"" + name + "\", \"stream\": true, ";
  line += chat ? "\"messages\": [{\"role\": \"user\", \"content\": \"Tell me a story about a fox.\"}]}'"
               : "\"max_tokens\": 64, \"prompt\": \"Once upon a time\"}'";
  return line;
}

int run_server(const ServeOptions& options, const BackendLoader& loader) {
  LogLevel level = LogLevel::kInfo;
  parse_log_level(options.log_level, &level);
  set_log_level(level);
  set_log_format(options.log_format == "json" ? LogFormat::kJson : LogFormat::kText);
  if (options.model.empty()) {
    std::fprintf(stderr, "foregate: no model given; usage: foregate serve MODEL\n");
    return 2;
  }
  std::error_code ignored;
  if (!std::filesystem::exists(options.model, ignored)) {
    std::fprintf(stderr, "foregate: --model: %s does not exist\n", options.model.c_str());
    return 2;
  }
  ServeOptions settled = options;
  if (const Status access = settle_access(settled); !access.ok()) {
    std::fprintf(stderr, "foregate: %s\n", access.message().c_str());
    return 2;
  }
  App app(settled, loader);
  return app.run();
}

}  // namespace foregate
