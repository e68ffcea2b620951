// A job of MPI processes, as threads over a double of MPI: pulses, ranks that stop, and how a job ends.
#include "engine/comm/mpi_job.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/engine/base/fake_mpi.h"

namespace foregate {
namespace {

struct Job {
  explicit Job(std::int32_t size, TimeNs silent_after = MpiJob::kSilentNs) : hub(size) {
    for (std::int32_t rank = 0; rank < size; ++rank) {
      ranks.push_back(std::make_shared<MpiJob>(hub.port(rank), silent_after));
    }
  }
  FakeMpi hub;
  std::vector<std::shared_ptr<MpiJob>> ranks;
};

TEST(MpiJob, PulsesOfARankComeOutOfItsSocket) {
  Job job(3);
  int sockets[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
  job.ranks[0]->pulses_to(2, sockets[1]);
  EXPECT_TRUE(job.ranks[1]->pulse('x'));
  EXPECT_TRUE(job.ranks[2]->pulse('l'));
  EXPECT_TRUE(job.ranks[2]->pulse('s'));
  char says[2] = {};
  ASSERT_EQ(::recv(sockets[0], says, 2, MSG_WAITALL), 2);
  EXPECT_EQ(std::string(says, 2), "ls");
  job.ranks[0]->end_pulses(2);
  EXPECT_EQ(::recv(sockets[0], says, 1, 0), 0) << "no more will come";
  ::close(sockets[0]);
}

TEST(MpiJob, AStoppedRankIsADeadlineForWhoSendsALotToIt) {
  Job job(2);
  const auto line = job.ranks[0]->line(1);
  job.hub.stop(1);
  const std::vector<std::byte> big(1 << 20);
  EXPECT_EQ(line->send(MessageKind::kRows, 1, big, system_clock().now() + 1'000'000).code(), Code::kDeadlineExceeded);
  EXPECT_EQ(line->send(MessageKind::kRows, 2, big, kNoDeadline).code(), Code::kUnavailable) << "the line has ended";
  job.hub.resume(1);
}

TEST(MpiJob, TheJobEndsWhenRankZeroSaysSo) {
  Job job(3);
  std::vector<std::thread> others;
  for (const int rank : {1, 2}) {
    others.emplace_back([&job, rank] {
      job.ranks[static_cast<std::size_t>(rank)]->wait_for_end();
      job.ranks[static_cast<std::size_t>(rank)]->leave();
    });
  }
  job.ranks[0]->leave();
  for (std::thread& other : others) other.join();
  EXPECT_EQ(job.hub.left(), 3);
  EXPECT_FALSE(job.ranks[1]->pulse('s'));
  job.ranks[1]->wait_for_end();
  EXPECT_EQ(job.hub.late_calls(), 0) << "MPI was finalized";
}

TEST(MpiJob, NobodyWaitsForALostRank) {
  Job job(2);
  job.ranks[0]->lost(1);
  job.ranks[0]->leave();
  EXPECT_EQ(job.hub.left(), 0) << "MPI_Finalize would wait";
}

TEST(MpiJob, ASilentRankZeroIsGone) {
  Job job(2, 1'000'000);
  job.hub.stop(0);
  job.ranks[1]->wait_for_end();
  EXPECT_FALSE(job.ranks[1]->pulse('s'));
  job.ranks[1]->leave();
  EXPECT_EQ(job.hub.left(), 0);
  job.hub.resume(0);
}

TEST(MpiJob, AModuleThatIsNoneIsSaid) {
  const auto job = MpiJob::join("/dev/null");
  ASSERT_FALSE(job.ok());
  EXPECT_EQ(job.status().code(), Code::kUnavailable);
  EXPECT_FALSE(job.status().message().empty());
}

}  // namespace
}  // namespace foregate
