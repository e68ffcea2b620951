// Many streams at a time of stub_server, read as cheaply as can be: CPU time of the server for each token, and how long
// tokens are under way.
//   stream_client http|grpc PORT PID STREAMS SECONDS
// Prints one line of JSON.
#include <arpa/inet.h>
#include <foregate/v1/inference.grpc.pb.h>
#include <grpcpp/grpcpp.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/bench/stamp.h"

namespace foregate {
namespace {

using Clock = std::chrono::steady_clock;

// Nanoseconds that all threads of a process have run; of those called `comm` only, if it is not empty.
std::uint64_t cpu_ns(const std::string& pid) {
  std::uint64_t total = 0;
  std::error_code error;
  for (const auto& task : std::filesystem::directory_iterator("/proc/" + pid + "/task", error)) {
    std::uint64_t ran = 0;
    std::ifstream(task.path() / "schedstat") >> ran;
    total += ran;
  }
  return total;
}

// Tokens of a window that begins when every stream has had one.
class Tally {
 public:
  Tally(std::string pid, std::size_t streams, double seconds)
      : pid_(std::move(pid)), streams_(streams), seconds_(seconds) {}
  void first() {
    if (++started_ == streams_) settle_until_ = Clock::now() + std::chrono::seconds(1);
  }
  void token(std::string_view text) {
    if (counting_) latencies_.push_back(us_since(text));
  }
  // True when the window is over.
  bool turn() {
    const auto now = Clock::now();
    if (!counting_ && started_ == streams_ && now > settle_until_) {
      latencies_.reserve(1u << 22);
      counting_ = true;
      began_ = now;
      cpu_ = cpu_ns(pid_);
    }
    if (!counting_ || now - began_ < std::chrono::duration<double>(seconds_)) return false;
    cpu_ = cpu_ns(pid_) - cpu_;
    lasted_ = std::chrono::duration<double>(now - began_).count();
    counting_ = false;
    return true;
  }
  void print(const char* protocol) {
    std::sort(latencies_.begin(), latencies_.end());
    const auto at = [&](double part) {
      return latencies_.empty()
                 ? 0u
                 : latencies_[static_cast<std::size_t>(part * static_cast<double>(latencies_.size() - 1))];
    };
    const auto tokens = static_cast<double>(latencies_.size());
    std::printf(
        "{\"protocol\": \"%s\", \"streams\": %zu, \"seconds\": %.2f, \"tokens\": %.0f, \"tokens_per_second\": %.0f, "
        "\"cpu_us_per_token\": %.2f, \"added_ms_p50\": %.2f, \"added_ms_p99\": %.2f, \"added_ms_max\": %.2f}\n",
        protocol, streams_, lasted_, tokens, tokens / lasted_, static_cast<double>(cpu_) / 1e3 / tokens, at(0.5) / 1e3,
        at(0.99) / 1e3, at(1.0) / 1e3);
  }

 private:
  std::string pid_;
  std::size_t streams_;
  double seconds_;
  std::size_t started_ = 0;
  bool counting_ = false;
  Clock::time_point settle_until_, began_;
  std::uint64_t cpu_ = 0;
  double lasted_ = 0;
  std::vector<std::uint32_t> latencies_;
};

struct Stream {
  int fd = -1;
  bool started = false;
  std::string left;  // the beginning of an event that is not whole
};

int connect_stream(int port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (fd < 0 || ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    std::perror("connect");
    std::exit(1);
  }
  const std::string body =
      "{\"messages\":[{\"role\":\"user\",\"content\":\"Tell me what the time is, again and again.\"}],\"stream\":true,"
      "\"max_tokens\":100000}";
  const std::string request =
      "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: " +
      std::to_string(body.size()) + "\r\n\r\n" + body;
  if (::write(fd, request.data(), request.size()) != static_cast<ssize_t>(request.size())) std::exit(1);
  return fd;
}

void take(Stream& stream, std::string_view bytes, Tally& tally) {
  static constexpr std::string_view kMark = "\"content\":\" ";
  if (!stream.left.empty()) {
    stream.left.append(bytes);
    bytes = stream.left;
  }
  std::size_t at = 0, found = 0;
  while ((found = bytes.find(kMark, at)) != std::string_view::npos && found + kMark.size() + 5 <= bytes.size()) {
    if (!std::exchange(stream.started, true)) tally.first();
    tally.token(bytes.substr(found + kMark.size() - 1, 6));
    at = found + kMark.size() + 5;
  }
  const std::size_t keep =
      std::min<std::size_t>(bytes.size() - at, found != std::string_view::npos ? bytes.size() - at : kMark.size());
  stream.left = std::string(bytes.substr(bytes.size() - keep));
}

void run_http(int port, std::size_t streams, Tally& tally) {
  const int poll = ::epoll_create1(0);
  std::vector<Stream> all(streams);
  for (std::size_t i = 0; i < streams; ++i) {
    all[i].fd = connect_stream(port);
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = i;
    ::epoll_ctl(poll, EPOLL_CTL_ADD, all[i].fd, &event);
  }
  std::vector<epoll_event> ready(streams);
  std::vector<char> buffer(65536);
  while (!tally.turn()) {
    const int count = ::epoll_wait(poll, ready.data(), static_cast<int>(ready.size()), 100);
    for (int i = 0; i < count; ++i) {
      Stream& stream = all[ready[static_cast<std::size_t>(i)].data.u64];
      const ssize_t got = ::read(stream.fd, buffer.data(), buffer.size());
      if (got <= 0) {
        std::fprintf(stderr, "a stream ended\n");
        std::exit(1);
      }
      take(stream, {buffer.data(), static_cast<std::size_t>(got)}, tally);
    }
  }
}

void run_grpc(int port, std::size_t streams, Tally& tally) {
  struct Call {
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientAsyncReader<v1::GenerateResponse>> reader;
    v1::GenerateResponse message;
    bool started = false;
  };
  v1::GenerateRequest request;
  request.set_stream(true);
  request.mutable_chat()->add_messages()->set_role("user");
  request.mutable_chat()->mutable_messages(0)->set_content("Tell me what the time is, again and again.");
  request.mutable_sampling()->set_max_tokens(100000);
  std::vector<std::unique_ptr<v1::Inference::Stub>> stubs;
  for (int i = 0; i < 8; ++i) {
    grpc::ChannelArguments own;
    own.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    stubs.push_back(v1::Inference::NewStub(
        grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(port), grpc::InsecureChannelCredentials(), own)));
  }
  grpc::CompletionQueue queue;
  std::vector<std::unique_ptr<Call>> calls;
  for (std::size_t i = 0; i < streams; ++i) {
    calls.push_back(std::make_unique<Call>());
    calls[i]->reader = stubs[i % stubs.size()]->AsyncGenerate(&calls[i]->context, request, &queue, calls[i].get());
  }
  void* tag = nullptr;
  bool ok = false;
  while (!tally.turn()) {
    if (queue.AsyncNext(&tag, &ok, std::chrono::system_clock::now() + std::chrono::milliseconds(100)) !=
        grpc::CompletionQueue::GOT_EVENT) {
      continue;
    }
    Call& call = *static_cast<Call*>(tag);
    if (!ok) {
      std::fprintf(stderr, "a call ended\n");
      std::_Exit(1);
    }
    const std::string_view text = call.message.text();
    for (std::size_t at = 0; at + 6 <= text.size(); at += 6) {
      if (!std::exchange(call.started, true)) tally.first();
      tally.token(text.substr(at, 6));
    }
    call.reader->Read(&call.message, &call);
  }
}

}  // namespace
}  // namespace foregate

int main(int argc, char** argv) {
  if (argc != 6) {
    std::fprintf(stderr, "usage: stream_client http|grpc PORT PID STREAMS SECONDS\n");
    return 2;
  }
  foregate::allow_many_files();
  const auto streams = static_cast<std::size_t>(std::atoi(argv[4]));
  foregate::Tally tally(argv[3], streams, std::atof(argv[5]));
  const bool http = std::strcmp(argv[1], "http") == 0;
  http ? foregate::run_http(std::atoi(argv[2]), streams, tally)
       : foregate::run_grpc(std::atoi(argv[2]), streams, tally);
  tally.print(argv[1]);
  std::fflush(stdout);
  std::_Exit(0);  // the streams go on
}
