// What a server shows in TLS handshakes, read from PEM files: its certificate with the chain, its key, and the
// authorities whose clients it takes. Pure but for reading the files; a context is immutable and safe from any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "engine/base/status.h"

struct ssl_ctx_st;

namespace foregate {

struct TlsFiles {
  std::string certificate;  // --ssl-certfile: the certificate, then those between it and a root
  std::string key;          // --ssl-keyfile: without a passphrase
  std::string client_ca;    // --ssl-ca-certs: empty = clients need no certificate
};

struct TlsContext {
  std::shared_ptr<ssl_ctx_st> context;  // TLS 1.2 and 1.3, HTTP/1.1 by ALPN, no renegotiation, no session cache
  std::int64_t not_after = 0;           // Unix time at which the certificate ends
  std::string key_and_chain;            // PEM, as read: the key first
  std::string client_ca;                // PEM, as read
};

// kInvalidArgument names the option whose file cannot be used, or the pair that does not belong together.
Result<TlsContext> read_tls_context(const TlsFiles& files);

}  // namespace foregate
