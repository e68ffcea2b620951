#include "server/net/tcp.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <utility>

#include "engine/base/log.h"

namespace foregate {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

Status to_status(const error_code& error) {
  if (error == asio::error::operation_aborted) return Status(Code::kCancelled, "closed");
  return unavailable(error.message());
}

class AsioTimer final : public Timer {
 public:
  explicit AsioTimer(asio::io_context& context) : timer_(context) {}
  void arm(double delay_seconds, std::function<void()> fire) override {
    timer_.expires_after(
        std::chrono::duration_cast<std::chrono::steady_clock::duration>(std::chrono::duration<double>(delay_seconds)));
    // A handler already queued when the timer is re-armed must not fire: the turn number tells.
    const auto turn = ++*turn_;
    timer_.async_wait([turn, turns = turn_, fire = std::move(fire)](const error_code& error) {
      if (!error && *turns == turn) fire();
    });
  }
  void cancel() override {
    ++*turn_;
    timer_.cancel();
  }
  ~AsioTimer() override { ++*turn_; }

 private:
  asio::steady_timer timer_;
  std::shared_ptr<std::uint64_t> turn_ = std::make_shared<std::uint64_t>(0);
};

// What any connection has just received. One for all of a loop: it is handed on before the next one reads, so a client
// that says nothing costs no buffer.
using ReadBuffer = std::shared_ptr<std::array<char, 16384>>;

// Unsent bytes in the kernel above which a socket takes no more: a reader who keeps up never has so many, and for one
// who does not, what a stream writes ahead is little whatever the send buffer.
constexpr int kMostUnsentBytes = 16384;

class TcpConnection final : public Connection, public std::enable_shared_from_this<TcpConnection> {
 public:
  TcpConnection(tcp::socket socket, ReadBuffer buffer) : socket_(std::move(socket)), buffer_(std::move(buffer)) {
    error_code error;
    socket_.non_blocking(true, error);
    const auto remote = socket_.remote_endpoint(error);
    if (!error) peer_ = remote.address().to_string() + ":" + std::to_string(remote.port());
  }

  void read_some(ReadHandler handler) override {
    socket_.async_wait(tcp::socket::wait_read,
                       [self = shared_from_this(), handler = std::move(handler)](const error_code& waited) mutable {
                         if (waited) return handler(to_status(waited), {});
                         error_code error;
                         const std::size_t count = self->socket_.read_some(asio::buffer(*self->buffer_), error);
                         if (error == asio::error::would_block) return self->read_some(std::move(handler));
                         if (error == asio::error::eof) return handler(Status(), {});
                         if (error) return handler(to_status(error), {});
                         handler(Status(), std::string_view(self->buffer_->data(), count));
                       });
  }

  void write_some(std::string_view bytes, WriteHandler handler) override {
    socket_.async_write_some(
        asio::buffer(bytes.data(), bytes.size()),
        [self = shared_from_this(), handler = std::move(handler)](const error_code& error, std::size_t count) {
          handler(error ? to_status(error) : Status(), count);
        });
  }

  std::size_t write_now(std::string_view bytes) override {
    const ssize_t count = ::send(socket_.native_handle(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    return count > 0 ? static_cast<std::size_t>(count) : 0;
  }

  void shutdown_send() override {
    error_code ignored;
    socket_.shutdown(tcp::socket::shutdown_send, ignored);
  }

  void close() override {
    error_code ignored;
    socket_.close(ignored);
  }

  std::string peer() const override { return peer_; }

 private:
  tcp::socket socket_;
  ReadBuffer buffer_;
  std::string peer_;
};

// Accepts for ever; a shortage of descriptors makes it wait a little instead of spinning.
class TcpListener final : public Listener {
 public:
  TcpListener(asio::io_context& context, tcp::acceptor acceptor, int send_buffer_bytes, AcceptHandler on_accept)
      : state_(std::make_shared<State>(context, std::move(acceptor), send_buffer_bytes, std::move(on_accept))) {
    accept(state_);
  }
  ~TcpListener() override {
    error_code ignored;
    state_->acceptor.close(ignored);
    state_->retry.cancel();
  }
  std::uint16_t port() const override { return state_->port; }

 private:
  struct State {
    State(asio::io_context& context, tcp::acceptor accepting, int send_buffer, AcceptHandler handler)
        : acceptor(std::move(accepting)),
          retry(context),
          send_buffer_bytes(send_buffer),
          on_accept(std::move(handler)),
          port(acceptor.local_endpoint().port()) {}
    tcp::acceptor acceptor;
    asio::steady_timer retry;
    int send_buffer_bytes;
    AcceptHandler on_accept;
    std::uint16_t port;
    ReadBuffer buffer = std::make_shared<ReadBuffer::element_type>();
  };

  static void accept(const std::shared_ptr<State>& state) {
    state->acceptor.async_accept([state](const error_code& error, tcp::socket socket) {
      if (!state->acceptor.is_open()) return;
      if (error) {
        log_warn("accept failed: " + error.message());
        state->retry.expires_after(std::chrono::milliseconds(100));
        state->retry.async_wait([state](const error_code& cancelled) {
          if (!cancelled && state->acceptor.is_open()) accept(state);
        });
        return;
      }
      error_code ignored;
      socket.set_option(tcp::no_delay(true), ignored);
      socket.set_option(asio::socket_base::send_buffer_size(state->send_buffer_bytes), ignored);
      ::setsockopt(socket.native_handle(), IPPROTO_TCP, TCP_NOTSENT_LOWAT, &kMostUnsentBytes, sizeof kMostUnsentBytes);
      state->on_accept(std::make_shared<TcpConnection>(std::move(socket), state->buffer));
      accept(state);
    });
  }

  std::shared_ptr<State> state_;
};

class AsioLoop final : public TcpLoop {
 public:
  AsioLoop() : work_(asio::make_work_guard(context_)) {}

  void post(std::function<void()> task) override { asio::post(context_, std::move(task)); }
  std::unique_ptr<Timer> make_timer() override { return std::make_unique<AsioTimer>(context_); }
  const Clock& clock() const override { return system_clock(); }
  void run() override { context_.run(); }
  void stop() override { context_.stop(); }
  void run_ready() override {
    context_.restart();
    context_.poll();
  }

  Result<std::unique_ptr<Listener>> listen(const TcpOptions& options, AcceptHandler on_accept) override {
    error_code error;
    tcp::resolver resolver(context_);
    const auto found = resolver.resolve(options.host, std::to_string(options.port),
                                        tcp::resolver::passive | tcp::resolver::numeric_service, error);
    if (error || found.empty()) {
      return invalid_argument("--host: \"" + options.host + "\" does not resolve: " + error.message(), "--host");
    }
    const tcp::endpoint endpoint = *found.begin();
    tcp::acceptor acceptor(context_);
    acceptor.open(endpoint.protocol(), error);
    if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor.bind(endpoint, error);
    if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
    if (error) {
      return unavailable("cannot listen on " + options.host + ":" + std::to_string(options.port) + ": " +
                         error.message());
    }
    return std::unique_ptr<Listener>(
        std::make_unique<TcpListener>(context_, std::move(acceptor), options.send_buffer_bytes, std::move(on_accept)));
  }

  void watch_signals(const std::vector<int>& signals, std::function<void(int)> handler) override {
    signals_ = std::make_unique<asio::signal_set>(context_);
    for (int signal : signals) signals_->add(signal);
    wait_signal(std::move(handler));
  }

 private:
  void wait_signal(std::function<void(int)> handler) {
    signals_->async_wait([this, handler = std::move(handler)](const error_code& error, int signal) mutable {
      if (error) return;
      handler(signal);
      wait_signal(std::move(handler));
    });
  }

  asio::io_context context_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  std::unique_ptr<asio::signal_set> signals_;
};

}  // namespace

std::unique_ptr<TcpLoop> make_tcp_loop() {
  return std::make_unique<AsioLoop>();
}

}  // namespace foregate
