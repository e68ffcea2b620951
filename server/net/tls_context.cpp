#include "server/net/tls_context.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <string_view>
#include <utility>

namespace foregate {
namespace {

constexpr std::size_t kMostPem = 1u << 20;

template <auto Free>
struct Freer {
  template <class T>
  void operator()(T* object) const {
    Free(object);
  }
};
using Bio = std::unique_ptr<BIO, Freer<BIO_free>>;
using Certificate = std::unique_ptr<X509, Freer<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY_free>>;

// OpenSSL's own words for what went wrong last; its queue is empty afterwards.
std::string reason() {
  const unsigned long code = ERR_peek_last_error();
  const char* text = code == 0 ? nullptr : ERR_reason_error_string(code);
  const std::string said = text == nullptr ? "not valid PEM" : text;
  ERR_clear_error();
  return said;
}

Status bad(const char* option, const std::string& path, const std::string& what) {
  return invalid_argument(std::string(option) + ": " + path + ": " + what, option);
}

Result<std::string> read_pem(const char* option, const std::string& path) {
  const std::unique_ptr<std::FILE, Freer<std::fclose>> file(std::fopen(path.c_str(), "rbe"));
  if (!file) return bad(option, path, std::strerror(errno));
  std::string text(kMostPem + 1, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), file.get()));
  if (std::ferror(file.get())) return bad(option, path, "cannot be read");
  if (text.size() > kMostPem) return bad(option, path, "is longer than " + std::to_string(kMostPem) + " bytes");
  return text;
}

Bio bio_of(const std::string& text) {
  return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

// A key with a passphrase is refused; OpenSSL would ask the terminal.
int no_passphrase(char*, int, int, void*) {
  return -1;
}

std::int64_t unix_time(const ASN1_TIME* time) {
  std::tm parts{};
  return ASN1_TIME_to_tm(time, &parts) == 1 ? static_cast<std::int64_t>(timegm(&parts)) : 0;
}

Status use_chain(SSL_CTX* context, const TlsFiles& files, const std::string& pem, std::int64_t& not_after) {
  const Bio bio = bio_of(pem);
  const Certificate first(PEM_read_bio_X509_AUX(bio.get(), nullptr, no_passphrase, nullptr));
  if (!first || SSL_CTX_use_certificate(context, first.get()) != 1) {
    return bad("--ssl-certfile", files.certificate, "holds no certificate that can be used: " + reason());
  }
  not_after = unix_time(X509_get0_notAfter(first.get()));
  while (X509* next = PEM_read_bio_X509(bio.get(), nullptr, no_passphrase, nullptr)) {
    if (SSL_CTX_add0_chain_cert(context, next) != 1) {
      X509_free(next);
      return bad("--ssl-certfile", files.certificate, reason());
    }
  }
  ERR_clear_error();  // the end of the file is one
  return {};
}

Status use_key(SSL_CTX* context, const TlsFiles& files, const std::string& pem) {
  const Bio bio = bio_of(pem);
  const Key key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, nullptr));
  if (!key) return bad("--ssl-keyfile", files.key, "holds no private key without a passphrase: " + reason());
  if (SSL_CTX_use_PrivateKey(context, key.get()) != 1 || SSL_CTX_check_private_key(context) != 1) {
    return bad("--ssl-keyfile", files.key, "does not belong to the certificate of --ssl-certfile: " + reason());
  }
  return {};
}

Status use_client_ca(SSL_CTX* context, const TlsFiles& files, const std::string& pem) {
  const Bio bio = bio_of(pem);
  int count = 0;
  while (const Certificate one{PEM_read_bio_X509(bio.get(), nullptr, no_passphrase, nullptr)}) {
    if (X509_STORE_add_cert(SSL_CTX_get_cert_store(context), one.get()) != 1 ||
        SSL_CTX_add_client_CA(context, one.get()) != 1) {
      return bad("--ssl-ca-certs", files.client_ca, reason());
    }
    ++count;
  }
  if (count == 0) return bad("--ssl-ca-certs", files.client_ca, "holds no certificate: " + reason());
  ERR_clear_error();
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  return {};
}

int choose_protocol(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* in,
                    unsigned int in_size, void*) {
  static constexpr unsigned char kOurs[] = "\x08http/1.1";
  unsigned char* chosen = nullptr;
  const int found = SSL_select_next_proto(&chosen, out_size, kOurs, sizeof kOurs - 1, in, in_size);
  *out = chosen;
  return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}

}  // namespace

Result<TlsContext> read_tls_context(const TlsFiles& files) {
  ASSIGN_OR_RETURN(const std::string chain, read_pem("--ssl-certfile", files.certificate));
  ASSIGN_OR_RETURN(const std::string key, read_pem("--ssl-keyfile", files.key));
  TlsContext made;
  made.context = {SSL_CTX_new(TLS_server_method()), [](SSL_CTX* context) { SSL_CTX_free(context); }};
  SSL_CTX* context = made.context.get();
  if (context == nullptr) return internal_error("TLS cannot be set up: " + reason());
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_mode(context,
                   SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  static constexpr unsigned char kSessions[] = "foregate";
  SSL_CTX_set_session_id_context(context, kSessions, sizeof kSessions - 1);
  SSL_CTX_set_alpn_select_cb(context, choose_protocol, nullptr);
  RETURN_IF_ERROR(use_chain(context, files, chain, made.not_after));
  RETURN_IF_ERROR(use_key(context, files, key));
  if (!files.client_ca.empty()) {
    ASSIGN_OR_RETURN(made.client_ca, read_pem("--ssl-ca-certs", files.client_ca));
    RETURN_IF_ERROR(use_client_ca(context, files, made.client_ca));
  }
  made.key_and_chain = key + "\n" + chain;
  return made;
}

}  // namespace foregate
