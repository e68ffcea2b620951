#include "foregate/client.h"

#include <foregate/v1/inference.grpc.pb.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <algorithm>
#include <utility>

#include "tools/clients/cpp/src/attempts.h"
#include "tools/clients/cpp/src/wire.h"

namespace foregate::client {
namespace {

using Stub = v1::Inference::Stub;

std::shared_ptr<grpc::Channel> channel_to(const ClientOptions& options) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);  // attempts are counted here; gRPC makes none of its own
  arguments.SetMaxReceiveMessageSize(static_cast<int>(std::min<std::size_t>(options.max_message_bytes, 1u << 30)));
  grpc::SslCredentialsOptions certificates;
  certificates.pem_root_certs = options.root_certificates;
  const auto credentials = options.tls ? grpc::SslCredentials(certificates) : grpc::InsecureChannelCredentials();
  return grpc::CreateCustomChannel(options.target, credentials, arguments);
}

}  // namespace

// One Generate call and its attempts.
class Stream::Call {
 public:
  Call(std::shared_ptr<Stub> stub, const ClientOptions& options, const CallOptions& call, v1::GenerateRequest request)
      : stub_(std::move(stub)), attempts_(options, call), request_(std::move(request)) {
    reader_ = stub_->Generate(&attempts_.begin(), request_);
  }
  ~Call() {
    if (ended_) return;
    attempts_.stop();
    end();
  }
  bool next(Delta& delta) {
    while (!ended_) {
      v1::GenerateResponse message;
      if (reader_->Read(&message)) {
        begun_ = true;
        delta = from_wire(std::move(message));
        return true;
      }
      const grpc::Status status = end();
      if (status.ok()) return false;
      if (begun_) {
        attempts_.fail(status);
      } else if (attempts_.again(status)) {
        reader_ = nullptr;  // before its context goes
        reader_ = stub_->Generate(&attempts_.begin(), request_);
        ended_ = false;
      }
    }
    return false;
  }
  const Error& error() const { return attempts_.error(); }
  void cancel() { attempts_.stop(); }

 private:
  grpc::Status end() {
    ended_ = true;
    v1::GenerateResponse rest;
    while (reader_->Read(&rest)) {
    }
    return reader_->Finish();
  }
  std::shared_ptr<Stub> stub_;
  Attempts attempts_;
  const v1::GenerateRequest request_;
  std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>> reader_;
  bool begun_ = false;  // a message has come
  bool ended_ = false;
};

Stream::Stream(std::shared_ptr<Call> call) : call_(std::move(call)) {}
Stream::Stream(Stream&&) noexcept = default;
Stream& Stream::operator=(Stream&&) noexcept = default;
Stream::~Stream() = default;
bool Stream::next(Delta& delta) {
  return call_->next(delta);
}
const Error& Stream::error() const {
  return call_->error();
}
void Stream::cancel() {
  call_->cancel();
}

class Client::Impl {
 public:
  explicit Impl(ClientOptions asked) : options(std::move(asked)), stub(v1::Inference::NewStub(channel_to(options))) {}

  // `method` as grpc's stubs have it; `read` makes the value of its answer.
  template <class Request, class Response, class Read>
  auto unary(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*), const Request& request,
             const CallOptions& call, const Read& read) -> Result<decltype(read(std::declval<Response&>()))> {
    Attempts attempts(options, call);
    Response response;
    while (true) {
      const grpc::Status status = ((*stub).*method)(&attempts.begin(), request, &response);
      if (status.ok()) return read(response);
      if (!attempts.again(status)) return attempts.error();
    }
  }

  const ClientOptions options;
  const std::shared_ptr<Stub> stub;
};

Client::Client(ClientOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}
Client::~Client() = default;

Stream Client::stream(const GenerateRequest& request, const CallOptions& call) {
  return Stream(std::make_shared<Stream::Call>(impl_->stub, impl_->options, call, to_wire(request, true)));
}

Result<Reply> Client::generate(const GenerateRequest& request, const CallOptions& call) {
  Stream::Call whole(impl_->stub, impl_->options, call, to_wire(request, false));
  ReplyBuilder reply;
  Delta delta;
  while (whole.next(delta)) reply.add(std::move(delta));
  if (!whole.error().ok()) return whole.error();
  return reply.take();
}

Result<bool> Client::abort(const std::string& request_id, const CallOptions& call) {
  v1::AbortRequest request;
  request.set_request_id(request_id);
  return impl_->unary(&Stub::Abort, request, call, [](const v1::AbortResponse& answer) { return answer.found(); });
}

Result<Tokens> Client::tokenize(const Prompt& prompt, std::optional<bool> add_special_tokens, const CallOptions& call) {
  v1::TokenizeRequest request;
  if (std::holds_alternative<TokenIds>(prompt)) {
    return Error{Code::kInvalidArgument, "prompt must be text or a chat", "prompt", {}};
  }
  if (const auto* text = std::get_if<std::string>(&prompt)) request.set_text(*text);
  if (const auto* chat = std::get_if<Chat>(&prompt)) *request.mutable_chat() = to_wire(*chat);
  if (add_special_tokens) request.set_add_special_tokens(*add_special_tokens);
  return impl_->unary(&Stub::Tokenize, request, call,
                      [](const v1::TokenizeResponse& answer) { return from_wire(answer); });
}

Result<std::string> Client::detokenize(const TokenIds& ids, const CallOptions& call) {
  v1::DetokenizeRequest request;
  request.mutable_token_ids()->Add(ids.begin(), ids.end());
  return impl_->unary(&Stub::Detokenize, request, call,
                      [](const v1::DetokenizeResponse& answer) { return answer.text(); });
}

Result<Health> Client::health(const CallOptions& call) {
  return impl_->unary(&Stub::HealthCheck, v1::HealthCheckRequest(), call,
                      [](const v1::HealthCheckResponse& answer) { return from_wire(answer); });
}

Result<ModelInfo> Client::model_info(const CallOptions& call) {
  return impl_->unary(&Stub::GetModelInfo, v1::GetModelInfoRequest(), call,
                      [](const v1::GetModelInfoResponse& answer) { return from_wire(answer); });
}

Result<ServerInfo> Client::server_info(const CallOptions& call) {
  return impl_->unary(&Stub::GetServerInfo, v1::GetServerInfoRequest(), call,
                      [](const v1::GetServerInfoResponse& answer) { return from_wire(answer); });
}

Result<Loads> Client::loads(const CallOptions& call) {
  return impl_->unary(&Stub::GetLoads, v1::GetLoadsRequest(), call,
                      [](const v1::GetLoadsResponse& answer) { return from_wire(answer); });
}

const char* code_name(Code code) {
  static constexpr const char* kNames[] = {
      "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
      "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
      "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
      "DATA_LOSS", "UNAUTHENTICATED"};
  const auto index = static_cast<std::size_t>(code);
  return index < std::size(kNames) ? kNames[index] : "UNKNOWN";
}

std::string Error::to_string() const {
  return std::string(code_name(code)) + (message.empty() ? "" : ": " + message);
}

}  // namespace foregate::client
