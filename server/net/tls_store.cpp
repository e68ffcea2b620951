#include "server/net/tls_store.h"

#include <sys/stat.h>

#include <utility>

#include "engine/base/log.h"

namespace foregate {
namespace {

Counter& reloads(Metrics& metrics, const char* result) {
  return metrics.counter("foregate_tls_reloads", "Times that certificate files were read again", {{"result", result}});
}

}  // namespace

TlsStore::TlsStore(IoLoop& loop, TlsOptions options, Metrics& metrics)
    : loop_(loop),
      options_(std::move(options)),
      handshakes_(metrics),
      reloads_(reloads(metrics, "done")),
      failed_reloads_(reloads(metrics, "failed")),
      not_after_(metrics.gauge("foregate_tls_certificate_not_after_seconds",
                               "Unix time at which the certificate that is shown ends")),
      timer_(loop.make_timer()) {}

Result<std::unique_ptr<TlsStore>> TlsStore::open(IoLoop& loop, TlsOptions options, Metrics& metrics) {
  std::unique_ptr<TlsStore> store(new TlsStore(loop, std::move(options), metrics));
  RETURN_IF_ERROR(store->read());
  if (store->options_.look_seconds > 0) store->look_later();
  return store;
}

Status TlsStore::read() {
  seen_ = seen_files();  // first: what changes while it is read is seen later
  ASSIGN_OR_RETURN(TlsContext next, read_tls_context(options_.files));
  RETURN_IF_ERROR(key_and_chain_.put(next.key_and_chain));
  if (asks_clients()) RETURN_IF_ERROR(client_ca_.put(next.client_ca));
  if (next.not_after < loop_.clock().wall_seconds()) log_warn("--ssl-certfile: the certificate has expired");
  not_after_.set(static_cast<double>(next.not_after));
  now_ = std::move(next);
  return {};
}

void TlsStore::reload() {
  const Status status = read();
  (status.ok() ? reloads_ : failed_reloads_).add();
  if (status.ok()) return log_info("TLS: the certificate was read again");
  log_warn("TLS: the old certificate stays: " + status.message());
}

void TlsStore::look_later() {
  timer_->arm(options_.look_seconds, [this] {
    if (seen_files() != seen_) reload();
    look_later();
  });
}

std::string TlsStore::seen_files() const {
  std::string seen;
  for (const std::string& path : {options_.files.certificate, options_.files.key, options_.files.client_ca}) {
    struct stat facts {};
    if (path.empty() || ::stat(path.c_str(), &facts) != 0) {
      seen += "none;";
      continue;
    }
    for (const auto number : {static_cast<std::int64_t>(facts.st_dev), static_cast<std::int64_t>(facts.st_ino),
                              static_cast<std::int64_t>(facts.st_size), static_cast<std::int64_t>(facts.st_mtim.tv_sec),
                              static_cast<std::int64_t>(facts.st_mtim.tv_nsec)}) {
      seen += std::to_string(number) + ",";
    }
    seen += ";";
  }
  return seen;
}

std::shared_ptr<Connection> TlsStore::secure(std::shared_ptr<Connection> plain) {
  return tls_connection(loop_, std::move(plain), now_.context, options_.handshake_seconds, handshakes_);
}

}  // namespace foregate
