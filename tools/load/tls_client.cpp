#include "tools/load/tls_client.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <utility>

namespace foregate {
namespace {

struct ContextFree {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};
struct SslFree {
  void operator()(SSL* ssl) const { SSL_free(ssl); }
};

}  // namespace

struct TlsClient::State {
  TcpClient tcp;
  std::unique_ptr<SSL_CTX, ContextFree> context{SSL_CTX_new(TLS_client_method())};
  std::unique_ptr<SSL, SslFree> ssl;

  Status flush(ClientClock::time_point until) {
    BIO* out = SSL_get_wbio(ssl.get());
    std::string sealed(BIO_ctrl_pending(out), '\0');
    if (sealed.empty()) return {};
    BIO_read(out, sealed.data(), static_cast<int>(sealed.size()));
    return tcp.send(sealed, until);
  }

  // Runs `step` of OpenSSL until it gives more than 0; 0 when the server has ended the stream.
  template <class Step>
  Result<int> run(const Step& step, ClientClock::time_point until) {
    for (;;) {
      ERR_clear_error();
      const int result = step();
      RETURN_IF_ERROR(flush(until));
      if (result > 0) return result;
      const int error = SSL_get_error(ssl.get(), result);
      if (error == SSL_ERROR_ZERO_RETURN) return 0;
      if (error != SSL_ERROR_WANT_READ) return unavailable("TLS failed");
      std::string sealed;
      ASSIGN_OR_RETURN(const bool more, tcp.receive(sealed, until));
      if (!more) return 0;
      BIO_write(SSL_get_rbio(ssl.get()), sealed.data(), static_cast<int>(sealed.size()));
    }
  }
};

TlsClient::TlsClient(std::unique_ptr<State> state) : state_(std::move(state)) {}
TlsClient::TlsClient(TlsClient&&) noexcept = default;
TlsClient::~TlsClient() = default;

Result<TlsClient> TlsClient::connect(const std::string& host, const std::string& port, ClientClock::time_point until) {
  auto state = std::make_unique<State>();
  ASSIGN_OR_RETURN(state->tcp, TcpClient::connect(host, port, until));
  state->ssl.reset(state->context ? SSL_new(state->context.get()) : nullptr);
  if (!state->ssl) return internal_error("no memory for TLS");
  BIO* in = BIO_new(BIO_s_mem());
  BIO_set_mem_eof_return(in, -1);
  SSL_set_bio(state->ssl.get(), in, BIO_new(BIO_s_mem()));
  SSL_set_connect_state(state->ssl.get());
  ASSIGN_OR_RETURN(const int shaken, state->run([&] { return SSL_do_handshake(state->ssl.get()); }, until));
  if (shaken == 0) return unavailable("the server ended the TLS handshake");
  return TlsClient(std::move(state));
}

Status TlsClient::send(std::string_view bytes, ClientClock::time_point until) {
  SSL* ssl = state_->ssl.get();
  ASSIGN_OR_RETURN(const int sent,
                   state_->run([&] { return SSL_write(ssl, bytes.data(), static_cast<int>(bytes.size())); }, until));
  return sent > 0 ? Status() : unavailable("the server ended the connection");
}

Result<bool> TlsClient::receive(std::string& to, ClientClock::time_point until) {
  char piece[16384];
  ASSIGN_OR_RETURN(const int count,
                   state_->run([&] { return SSL_read(state_->ssl.get(), piece, sizeof piece); }, until));
  to.append(piece, static_cast<std::size_t>(count));
  return count > 0;
}

}  // namespace foregate
