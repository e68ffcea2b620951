#include "engine/runtime/rank_process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "engine/base/log.h"
#include "engine/comm/shared_line.h"

namespace foregate {
namespace {

constexpr TimeNs kSetupLimitNs = 10'000'000'000;
constexpr int kFirstFreeFd = 16;  // above those that the child gets

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_ = -1;
};

// The two ends of the line and of the pulse; those of the child out of the way of the numbers it gets them under.
struct Ends {
  Fd line, pulse, child_line, child_pulse;
  Fd memory, child_memory;  // none: messages go over the socket
};

// After an error there is none.
Status add_memory(Ends& ends) {
  ASSIGN_OR_RETURN(const int memory, make_line_memory());
  ends.memory = Fd(memory);
  ends.child_memory = Fd(::fcntl(memory, F_DUPFD_CLOEXEC, kFirstFreeFd));
  if (ends.child_memory.get() >= 0) return {};
  ends.memory = Fd();
  return unavailable(std::strerror(errno));
}

Result<std::unique_ptr<RankLine>> line_of(Ends& ends) {
  if (ends.memory.get() < 0) return socket_line(ends.line.release());
  return shared_line(ends.line.release(), ends.memory.release(), LineEnd::kFirst);
}

Result<std::unique_ptr<RankLine>> line_of_rank() {
  if (::fcntl(kRankMemoryFd, F_GETFD) < 0) return socket_line(kRankLineFd);
  return shared_line(kRankLineFd, kRankMemoryFd, LineEnd::kSecond);
}

Result<Ends> make_ends() {
  int line[2], pulse[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, line) != 0) return unavailable(std::strerror(errno));
  Ends ends;
  ends.line = Fd(line[0]);
  const Fd far_line(line[1]);
  if (::pipe2(pulse, O_CLOEXEC | O_NONBLOCK) != 0) return unavailable(std::strerror(errno));
  ends.pulse = Fd(pulse[0]);
  const Fd far_pulse(pulse[1]);
  ends.child_line = Fd(::fcntl(far_line.get(), F_DUPFD_CLOEXEC, kFirstFreeFd));
  ends.child_pulse = Fd(::fcntl(far_pulse.get(), F_DUPFD_CLOEXEC, kFirstFreeFd));
  if (ends.child_line.get() < 0 || ends.child_pulse.get() < 0) return unavailable(std::strerror(errno));
  return ends;
}

Result<pid_t> spawn(const std::string& program, const Ends& ends) {
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, ends.child_line.get(), kRankLineFd);
  ::posix_spawn_file_actions_adddup2(&actions, ends.child_pulse.get(), kRankPulseFd);
  const bool memory = ends.child_memory.get() >= 0;
  if (memory) ::posix_spawn_file_actions_adddup2(&actions, ends.child_memory.get(), kRankMemoryFd);
  ::posix_spawn_file_actions_addclosefrom_np(&actions, (memory ? kRankMemoryFd : kRankPulseFd) + 1);
  std::string name = program, command = "rank";
  char* argv[] = {name.data(), command.data(), nullptr};
  pid_t pid = 0;
  const int failed = ::posix_spawn(&pid, program.c_str(), &actions, nullptr, argv, environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) return unavailable("cannot start " + program + ": " + std::strerror(failed));
  return pid;
}

void kill_and_reap(pid_t pid) {
  ::kill(pid, SIGKILL);
  while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace

RankLauncher process_launcher(std::string program, RankSetup setup, bool share_memory) {
  return [program = std::move(program), setup = std::move(setup),
          share_memory](RankId rank) mutable -> Result<LaunchedRank> {
    setup.rank = rank.value;
    ASSIGN_OR_RETURN(Ends ends, make_ends());
    if (share_memory) {
      if (const Status shared = add_memory(ends); !shared.ok()) {
        log_warn("rank " + std::to_string(rank.value) + " gets its messages over a socket: " + shared.message());
      }
    }
    ASSIGN_OR_RETURN(const pid_t pid, spawn(program, ends));
    LaunchedRank launched;
    launched.end = [pid] { kill_and_reap(pid); };
    launched.shares_memory = ends.memory.get() >= 0;
    auto line = line_of(ends);
    if (!line.ok()) {
      launched.end();
      return line.status();
    }
    launched.line = std::move(line).value();
    const Status sent =
        launched.line->send(MessageKind::kSetup, 0, setup_bytes(setup), system_clock().now() + kSetupLimitNs);
    if (!sent.ok()) {
      launched.end();
      return sent;
    }
    log_info("rank " + std::to_string(rank.value) + " is process " + std::to_string(pid));
    launched.pulse_fd = ends.pulse.release();
    return launched;
  };
}

Status run_rank_process(const MakeRankBackend& make_backend) {
  // A signal to the whole group is for rank 0, which drains and then closes the line.
  for (const int ignored : {SIGPIPE, SIGINT, SIGTERM}) ::signal(ignored, SIG_IGN);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // also when it is stopped while rank 0 goes
  for (const int fd : {kRankLineFd, kRankPulseFd}) {
    if (::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) return invalid_argument("foregate rank is started by foregate serve");
  }
  ASSIGN_OR_RETURN(const auto line, line_of_rank());
  RankPulse pulse([](char says) {
    if (::write(kRankPulseFd, &says, 1) < 0 && errno == EPIPE) std::_Exit(0);  // nobody can hear it: rank 0 is gone
  });
  const Status ended = load_and_serve(*line, pulse, make_backend);
  return ended.code() == Code::kUnavailable ? Status() : ended;
}

}  // namespace foregate
