// The certificate that a server shows now. It is read again when its files change or when asked to; files that cannot
// be used leave the old one in place and are said in the log, once for each change. Loop thread only.
#pragma once

#include <memory>
#include <string>

#include "engine/base/metrics.h"
#include "server/net/io.h"
#include "server/net/memory_file.h"
#include "server/net/tls_connection.h"
#include "server/net/tls_context.h"

namespace foregate {

struct TlsOptions {
  TlsFiles files;
  double handshake_seconds = 10;
  double look_seconds = 1;  // between looks at the files; 0: they are read when reload() is called only
};

class TlsStore {
 public:
  // Reads the files once. Errors as read_tls_context() has them. `loop` and `metrics` outlive it.
  static Result<std::unique_ptr<TlsStore>> open(IoLoop& loop, TlsOptions options, Metrics& metrics);

  std::shared_ptr<Connection> secure(std::shared_ptr<Connection> plain);  // with the certificate of now
  void reload();
  bool asks_clients() const { return !options_.files.client_ca.empty(); }
  // The same for a library that reads PEM files by itself: key and chain in one, and authorities of clients.
  std::string key_and_chain_path() const { return key_and_chain_.path(); }
  std::string client_ca_path() const { return asks_clients() ? client_ca_.path() : std::string(); }

 private:
  TlsStore(IoLoop& loop, TlsOptions options, Metrics& metrics);
  Status read();
  void look_later();
  std::string seen_files() const;  // changes when one of the files does

  IoLoop& loop_;
  TlsOptions options_;
  TlsCounters handshakes_;
  Counter& reloads_;
  Counter& failed_reloads_;
  Gauge& not_after_;
  std::unique_ptr<Timer> timer_;
  TlsContext now_;
  MemoryFile key_and_chain_;
  MemoryFile client_ca_;
  std::string seen_;
};

}  // namespace foregate
