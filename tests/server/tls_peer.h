// What the tests of TLS need: certificates made on the spot, and a client of TLS that talks to the server's end of an
// in-memory connection. One thread.
#pragma once

#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <fstream>
#include <memory>
#include <string>

#include "tests/server/memory_net.h"

namespace foregate::test {

struct Pair {
  std::string certificate;  // PEM
  std::string key;          // PEM
};

inline std::string pem_of(BIO* bio) {
  char* text = nullptr;
  const long size = BIO_get_mem_data(bio, &text);
  std::string out(text, static_cast<std::size_t>(size));
  BIO_free(bio);
  return out;
}

// A certificate that signs itself; `passphrase` locks its key.
inline Pair make_pair(long serial, const char* passphrase = nullptr) {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* cert = X509_new();
  X509_set_version(cert, X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(cert), serial);
  X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
  X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
  X509_set_pubkey(cert, key);
  X509_NAME* name = X509_get_subject_name(cert);
  const auto* host = reinterpret_cast<const unsigned char*>("localhost");
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, host, -1, -1, 0);
  X509_set_issuer_name(cert, name);
  X509_EXTENSION* names = X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1");
  X509_add_ext(cert, names, -1);
  X509_EXTENSION_free(names);
  X509_sign(cert, key, EVP_sha256());
  BIO* key_bio = BIO_new(BIO_s_mem());
  BIO* cert_bio = BIO_new(BIO_s_mem());
  const EVP_CIPHER* lock = passphrase == nullptr ? nullptr : EVP_aes_128_cbc();
  PEM_write_bio_PrivateKey(key_bio, key, lock, nullptr, 0, nullptr, const_cast<char*>(passphrase));
  PEM_write_bio_X509(cert_bio, cert);
  X509_free(cert);
  EVP_PKEY_free(key);
  return {pem_of(cert_bio), pem_of(key_bio)};
}

inline void write_text(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::trunc) << text;
}

// The client's side. pump() moves bytes both ways until nothing moves; the test turns the loop between.
class TlsPeer {
 public:
  TlsPeer(MemoryLoop& loop, std::shared_ptr<MemoryConnection> connection, const Pair* own = nullptr)
      : loop_(loop), connection_(std::move(connection)), context_(SSL_CTX_new(TLS_client_method())) {
    if (own != nullptr) {
      BIO* cert = BIO_new_mem_buf(own->certificate.data(), -1);
      BIO* key = BIO_new_mem_buf(own->key.data(), -1);
      X509* x509 = PEM_read_bio_X509(cert, nullptr, nullptr, nullptr);
      EVP_PKEY* pkey = PEM_read_bio_PrivateKey(key, nullptr, nullptr, nullptr);
      SSL_CTX_use_certificate(context_, x509);
      SSL_CTX_use_PrivateKey(context_, pkey);
      X509_free(x509);
      EVP_PKEY_free(pkey);
      BIO_free(cert);
      BIO_free(key);
    }
    ssl_ = SSL_new(context_);
    BIO* in = BIO_new(BIO_s_mem());
    BIO_set_mem_eof_return(in, -1);
    SSL_set_bio(ssl_, in, BIO_new(BIO_s_mem()));
    SSL_set_connect_state(ssl_);
  }
  ~TlsPeer() {
    SSL_free(ssl_);
    SSL_CTX_free(context_);
  }
  TlsPeer(const TlsPeer&) = delete;

  void send(const std::string& text) {
    unsent_ += text;
    pump();
  }
  void pump() {
    for (int still = 0; still < 3;) {
      const std::size_t before = read_ + received.size() + sent_;
      step();
      loop_.turn();
      still = read_ + received.size() + sent_ == before ? still + 1 : 0;
    }
  }
  // The first flight of a handshake, for a client that sends only a part of it.
  std::string hello() {
    SSL_do_handshake(ssl_);
    return sealed();
  }
  long shown_serial() const {
    X509* cert = SSL_get1_peer_certificate(ssl_);
    const long serial = cert == nullptr ? -1 : ASN1_INTEGER_get(X509_get0_serialNumber(cert));
    X509_free(cert);
    return serial;
  }
  bool established() const { return SSL_is_init_finished(ssl_) == 1; }
  const char* version() const { return SSL_get_version(ssl_); }
  SSL* ssl() { return ssl_; }

  std::string received;
  bool ended = false;  // the server said that nothing more comes

 private:
  std::string sealed() {
    BIO* out = SSL_get_wbio(ssl_);
    std::string bytes(BIO_ctrl_pending(out), '\0');
    if (!bytes.empty()) BIO_read(out, bytes.data(), static_cast<int>(bytes.size()));
    return bytes;
  }
  void step() {
    const std::string& raw = connection_->received;
    if (raw.size() > read_) {
      BIO_write(SSL_get_rbio(ssl_), raw.data() + read_, static_cast<int>(raw.size() - read_));
      read_ = raw.size();
    }
    SSL_do_handshake(ssl_);
    if (established() && !unsent_.empty()) {
      const int count = SSL_write(ssl_, unsent_.data(), static_cast<int>(unsent_.size()));
      if (count > 0) unsent_.erase(0, static_cast<std::size_t>(count));
    }
    char piece[4096];
    for (int count = 0; established() && (count = SSL_read(ssl_, piece, sizeof piece)) != 0;) {
      if (count < 0) break;
      received.append(piece, static_cast<std::size_t>(count));
    }
    ended = ended || (SSL_get_shutdown(ssl_) & SSL_RECEIVED_SHUTDOWN) != 0;
    const std::string bytes = sealed();
    sent_ += bytes.size();
    if (!bytes.empty()) connection_->send(bytes);
  }

  MemoryLoop& loop_;
  std::shared_ptr<MemoryConnection> connection_;
  SSL_CTX* context_;
  SSL* ssl_ = nullptr;
  std::string unsent_;
  std::size_t read_ = 0;
  std::size_t sent_ = 0;
};

}  // namespace foregate::test
