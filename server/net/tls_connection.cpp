#include "server/net/tls_connection.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <array>
#include <string>
#include <utility>

namespace foregate {
namespace {

constexpr std::size_t kRecord = 16384;         // plain bytes of one TLS record at most
constexpr std::size_t kMaxUnsent = 4 * 16384;  // answers to a peer that asks and does not read; then it is not read

struct SslFree {
  void operator()(SSL* ssl) const { SSL_free(ssl); }
};

// OpenSSL works on two buffers; this moves their bytes to and from the inner connection.
class TlsConnection final : public Connection, public std::enable_shared_from_this<TlsConnection> {
 public:
  TlsConnection(IoLoop& loop, std::shared_ptr<Connection> plain, SSL_CTX* context, TlsCounters& counters)
      : loop_(loop), plain_(std::move(plain)), ssl_(SSL_new(context)), counters_(counters), timer_(loop.make_timer()) {}

  void begin(double handshake_seconds) {
    BIO* in = BIO_new(BIO_s_mem());
    BIO* out = BIO_new(BIO_s_mem());
    if (!ssl_ || in == nullptr || out == nullptr) {
      BIO_free(in);
      BIO_free(out);
      fault_ = internal_error("no memory for TLS");
      return;
    }
    BIO_set_mem_eof_return(in, -1);  // empty is not the end
    SSL_set_bio(ssl_.get(), in, out);
    SSL_set_accept_state(ssl_.get());
    timer_->arm(handshake_seconds, [weak = weak_from_this()] {
      const auto self = weak.lock();
      if (!self || self->closed_) return;
      self->counters_.too_slow.add();
      self->handshake_counted_ = true;
      self->fail(Status(Code::kDeadlineExceeded, "the TLS handshake did not end in time"));
      self->plain_->close();
    });
  }

  void read_some(ReadHandler handler) override {
    reader_ = std::move(handler);
    drive();
  }

  void write_some(std::string_view bytes, WriteHandler handler) override {
    unsealed_ = bytes;
    writer_ = std::move(handler);
    drive();
  }

  void shutdown_send() override {
    if (closed_ || !fault_.ok()) return plain_->shutdown_send();
    if (established_) SSL_shutdown(ssl_.get());
    ending_ = true;
    drive();
  }

  void close() override {
    if (closed_) return;
    closed_ = true;
    timer_->cancel();
    plain_->close();
    answer(Status(Code::kCancelled, "closed"));
  }

  std::string peer() const override { return plain_->peer(); }

 private:
  // One step of everything that can go on.
  void drive() {
    if (closed_) return;
    if (!fault_.ok()) return answer(fault_);
    needs_input_ = false;
    if (!established_) shake();
    if (established_ && fault_.ok()) open_records();
    if (established_ && fault_.ok()) seal_record();
    flush();
    if (!fault_.ok()) return answer(fault_);
    fill();
  }

  void shake() {
    ERR_clear_error();
    const int result = SSL_do_handshake(ssl_.get());
    if (result != 1) return note(result);
    established_ = true;
    handshake_counted_ = true;
    timer_->cancel();
    counters_.done.add();
  }

  void open_records() {
    if (!reader_) return;
    ERR_clear_error();
    const int count = SSL_read(ssl_.get(), plain_bytes_.data(), static_cast<int>(plain_bytes_.size()));
    if (count > 0) return deliver({plain_bytes_.data(), static_cast<std::size_t>(count)});
    const bool over = SSL_get_error(ssl_.get(), count) == SSL_ERROR_ZERO_RETURN;
    if (over || (input_ended_ && SSL_get_error(ssl_.get(), count) == SSL_ERROR_WANT_READ)) return deliver({});
    note(count);
  }

  void seal_record() {
    if (!writer_ || sealed_ > 0) return;
    ERR_clear_error();
    const int count = SSL_write(ssl_.get(), unsealed_.data(), static_cast<int>(std::min(unsealed_.size(), kRecord)));
    if (count <= 0) return note(count);
    sealed_ = static_cast<std::size_t>(count);
  }

  // Waiting for bytes is no fault; everything else ends the connection.
  void note(int result) {
    if (SSL_get_error(ssl_.get(), result) == SSL_ERROR_WANT_READ && !input_ended_) {
      needs_input_ = true;
      return;
    }
    ERR_clear_error();
    fail(unavailable(established_ ? "TLS failed" : "the TLS handshake failed"));
  }

  void fail(Status status) {
    if (!fault_.ok()) return;
    fault_ = std::move(status);
    timer_->cancel();
    if (!std::exchange(handshake_counted_, true)) counters_.failed.add();
    answer(fault_);
  }

  // What waits hears why nothing comes. Never inside the call that set the handler.
  void answer(const Status& status) {
    if (!reader_ && !writer_) return;
    loop_.post([reader = std::exchange(reader_, nullptr), writer = std::exchange(writer_, nullptr), status] {
      if (reader) reader(status, {});
      if (writer) writer(status, 0);
    });
  }

  void deliver(std::string_view bytes) {
    loop_.post([self = shared_from_this(), reader = std::exchange(reader_, nullptr), bytes] {
      if (self->closed_) return reader(Status(Code::kCancelled, "closed"), {});
      reader(Status(), bytes);
    });
  }

  void take_sealed() {
    BIO* out = SSL_get_wbio(ssl_.get());
    const std::size_t more = BIO_ctrl_pending(out);
    if (more == 0) return;
    unsent_.resize(more);
    BIO_read(out, unsent_.data(), static_cast<int>(more));
  }

  // Sends what OpenSSL made; a write of ours is done when the last of it has left.
  void flush() {
    if (sending_) return;
    if (sent_ == unsent_.size()) {
      unsent_.clear();
      sent_ = 0;
      take_sealed();
    }
    if (!unsent_.empty()) return send();
    if (sealed_ > 0) {
      loop_.post(
          [writer = std::exchange(writer_, nullptr), count = std::exchange(sealed_, 0)] { writer(Status(), count); });
    }
    if (std::exchange(ending_, false)) plain_->shutdown_send();
  }

  void send() {
    sending_ = true;
    plain_->write_some(std::string_view(unsent_).substr(sent_),
                       [self = shared_from_this()](const Status& status, std::size_t count) {
                         self->sending_ = false;
                         if (self->closed_) return;
                         self->sent_ += count;
                         if (!status.ok()) self->fail(status);
                         self->drive();
                       });
  }

  void fill() {
    const std::size_t held = unsent_.size() - sent_ + BIO_ctrl_pending(SSL_get_wbio(ssl_.get()));
    if (filling_ || input_ended_ || !needs_input_ || held > kMaxUnsent) return;
    filling_ = true;
    plain_->read_some([self = shared_from_this()](const Status& status, std::string_view bytes) {
      self->filling_ = false;
      if (self->closed_) return;
      if (!status.ok()) {
        self->fail(status);
      } else if (bytes.empty()) {
        self->input_ended_ = true;
      } else {
        BIO_write(SSL_get_rbio(self->ssl_.get()), bytes.data(), static_cast<int>(bytes.size()));
      }
      self->drive();
    });
  }

  IoLoop& loop_;
  std::shared_ptr<Connection> plain_;
  std::unique_ptr<SSL, SslFree> ssl_;
  TlsCounters& counters_;
  std::unique_ptr<Timer> timer_;  // of the handshake
  ReadHandler reader_;
  WriteHandler writer_;
  std::string_view unsealed_;  // of the write that waits
  std::size_t sealed_ = 0;     // bytes of it in the record that is on its way
  std::string unsent_;         // records
  std::size_t sent_ = 0;       // bytes of them that have left
  std::array<char, kRecord> plain_bytes_;
  Status fault_;
  bool established_ = false;
  bool handshake_counted_ = false;
  bool needs_input_ = false;
  bool filling_ = false;
  bool sending_ = false;
  bool input_ended_ = false;
  bool ending_ = false;
  bool closed_ = false;
};

Counter& handshakes(Metrics& metrics, const char* result) {
  return metrics.counter("foregate_tls_handshakes", "TLS handshakes that ended", {{"result", result}});
}

}  // namespace

TlsCounters::TlsCounters(Metrics& metrics)
    : done(handshakes(metrics, "done")),
      failed(handshakes(metrics, "failed")),
      too_slow(handshakes(metrics, "too_slow")) {}

std::shared_ptr<Connection> tls_connection(IoLoop& loop, std::shared_ptr<Connection> plain,
                                           const std::shared_ptr<ssl_ctx_st>& context, double handshake_seconds,
                                           TlsCounters& counters) {
  auto connection = std::make_shared<TlsConnection>(loop, std::move(plain), context.get(), counters);
  connection->begin(handshake_seconds);
  return connection;
}

}  // namespace foregate
