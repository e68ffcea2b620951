// TLS over any Connection of the seam: what the server reads and writes is plain, what the inner connection carries is
// not. Its handshake has a time of its own; it holds at most a few records in each direction. Loop thread only.
#pragma once

#include <memory>

#include "engine/base/metrics.h"
#include "server/net/io.h"

struct ssl_ctx_st;

namespace foregate {

// How handshakes ended.
struct TlsCounters {
  explicit TlsCounters(Metrics& metrics);
  Counter& done;
  Counter& failed;  // no TLS, no common version, no certificate of the client where one is asked for
  Counter& too_slow;
};

// The server's side of `plain`. The handshake begins with the first read or write; when it does not end within
// `handshake_seconds` of this call, the connection is closed. `loop` and `counters` outlive it.
std::shared_ptr<Connection> tls_connection(IoLoop& loop, std::shared_ptr<Connection> plain,
                                           const std::shared_ptr<ssl_ctx_st>& context, double handshake_seconds,
                                           TlsCounters& counters);

}  // namespace foregate
