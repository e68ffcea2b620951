#include "engine/runtime/rank_mpi.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <set>
#include <utility>

#include "engine/base/log.h"

namespace foregate {
namespace {

constexpr TimeNs kSetupLimitNs = 10'000'000'000;

}  // namespace

RankLauncher mpi_launcher(std::shared_ptr<MpiJob> job, RankSetup setup, RankLauncher successor) {
  return [job = std::move(job), setup = std::move(setup), successor = std::move(successor),
          used = std::set<RankId>()](RankId rank) mutable -> Result<LaunchedRank> {
    if (!used.insert(rank).second) {
      job->lost(rank.value);
      log_warn("rank " + std::to_string(rank.value) + " goes on as a process of this machine");
      return successor(rank);
    }
    setup.rank = rank.value;
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) {
      return unavailable(std::strerror(errno));
    }
    job->pulses_to(rank.value, ends[1]);
    LaunchedRank launched{
        .line = job->line(rank.value), .pulse_fd = ends[0], .end = [job, rank] { job->end_pulses(rank.value); }};
    const Status sent =
        launched.line->send(MessageKind::kSetup, 0, setup_bytes(setup), system_clock().now() + kSetupLimitNs);
    if (sent.ok()) return launched;
    ::close(ends[0]);
    launched.end();
    return sent;
  };
}

Status run_mpi_rank(MpiJob& job, const MakeRankBackend& make_backend) {
  // A signal to the whole job is for rank 0, which drains and then ends it.
  for (const int ignored : {SIGPIPE, SIGINT, SIGTERM}) ::signal(ignored, SIG_IGN);
  const auto line = job.line(0);
  Status ended;
  {
    RankPulse pulse([&job, &line](char says) {
      if (!job.pulse(says)) line->close();  // its waits end, and with them this rank
    });
    ended = load_and_serve(*line, pulse, make_backend);
  }
  line->close();
  if (ended.code() != Code::kUnavailable) log_error("this rank ends: " + ended.to_string());
  job.wait_for_end();
  return ended.code() == Code::kUnavailable ? Status() : ended;
}

}  // namespace foregate
