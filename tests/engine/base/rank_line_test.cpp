// Lines between ranks: what was sent arrives, in memory, over sockets and over MPI; late, gone and malformed ends are
// told apart.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "engine/comm/mpi_job.h"
#include "engine/comm/shared_line.h"
#include "engine/comm/transport.h"
#include "tests/engine/base/fake_mpi.h"

namespace foregate {
namespace {

constexpr MessageBounds kAnything{.most_bytes = 1 << 24};

std::vector<std::byte> pattern(std::size_t bytes) {
  std::vector<std::byte> out(bytes);
  for (std::size_t i = 0; i < bytes; ++i) out[i] = static_cast<std::byte>(i * 7 % 251);
  return out;
}

struct Sockets {
  int raw = -1;  // of the test
  std::unique_ptr<RankLine> line;
};

Sockets half_raw() {
  int fds[2];
  CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
  return {fds[0], socket_line(fds[1])};
}

LinePair socket_pair() {
  int fds[2];
  CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
  return {socket_line(fds[0]), socket_line(fds[1])};
}

struct SharedEnds {
  int socket = -1;  // of the test
  int memory = -1;  // likewise
  std::unique_ptr<RankLine> line;
};

SharedEnds half_shared() {
  int fds[2];
  CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
  const int memory = make_line_memory().value();
  return {fds[0], ::dup(memory), std::move(shared_line(fds[1], memory, LineEnd::kFirst)).value()};
}

LinePair shared_pair() {
  SharedEnds ends = half_shared();
  return {std::move(ends.line), std::move(shared_line(ends.socket, ends.memory, LineEnd::kSecond)).value()};
}

struct Ends {
  std::shared_ptr<RankLine> first, second;
};

Ends of_kind(const std::string& kind) {
  if (kind == "Mpi") {
    static FakeMpi* const hub = new FakeMpi(2);
    hub->forget();
    return {std::make_shared<MpiJob>(hub->port(0))->line(1), std::make_shared<MpiJob>(hub->port(1))->line(0)};
  }
  LinePair pair = kind == "Socket" ? socket_pair() : kind == "Shared" ? shared_pair() : memory_line();
  return {std::move(pair.first), std::move(pair.second)};
}

class Lines : public ::testing::TestWithParam<std::string> {
 protected:
  Ends pair_ = of_kind(GetParam());
  RankLine& a_ = *pair_.first;
  RankLine& b_ = *pair_.second;
};

TEST_P(Lines, MessagesArriveInOrderAndWhole) {
  const auto big = pattern(3 << 20);  // more than a socket holds
  std::thread sender([&] {
    EXPECT_TRUE(a_.send(MessageKind::kRows, 1, big, kNoDeadline).ok());
    EXPECT_TRUE(a_.send(MessageKind::kSetup, 2, {}, kNoDeadline).ok());
  });
  const auto first = b_.receive(kAnything, kNoDeadline);
  const auto second = b_.receive(kAnything, kNoDeadline);
  sender.join();
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(first->kind, MessageKind::kRows);
  EXPECT_EQ(first->epoch, 1u);
  EXPECT_EQ(first->body, big);
  EXPECT_EQ(second->kind, MessageKind::kSetup);
  EXPECT_TRUE(second->body.empty());
}

TEST_P(Lines, ALateAnswerIsADeadlineAndEndsTheLine) {
  EXPECT_EQ(b_.receive(kAnything, system_clock().now() + 1'000'000).status().code(), Code::kDeadlineExceeded);
  EXPECT_EQ(a_.send(MessageKind::kRows, 1, {}, kNoDeadline).code(), Code::kUnavailable);
}

TEST_P(Lines, ClosingWakesWhoWaits) {
  std::thread closer([&] { a_.close(); });
  EXPECT_EQ(b_.receive(kAnything, kNoDeadline).status().code(), Code::kUnavailable);
  closer.join();
}

TEST_P(Lines, ClosingFromAnotherThreadWakesItsOwnEnd) {
  std::thread closer([&] { b_.close(); });
  EXPECT_EQ(b_.receive(kAnything, kNoDeadline).status().code(), Code::kUnavailable);
  closer.join();
}

TEST_P(Lines, BoundsHold) {
  const auto body = pattern(100);
  ASSERT_TRUE(a_.send(MessageKind::kRows, 5, body, kNoDeadline).ok());
  EXPECT_EQ(b_.receive({.most_bytes = 99}, kNoDeadline).status().code(), Code::kDataLoss);
  EXPECT_FALSE(b_.receive(kAnything, kNoDeadline).ok()) << "the line has ended";
}

TEST_P(Lines, EpochsHold) {
  ASSERT_TRUE(a_.send(MessageKind::kRows, 5, {}, kNoDeadline).ok());
  EXPECT_TRUE(b_.receive({.least_epoch = 5, .most_epoch = 5, .most_bytes = 9}, kNoDeadline).ok());
  ASSERT_TRUE(a_.send(MessageKind::kRows, 5, {}, kNoDeadline).ok());
  EXPECT_EQ(b_.receive({.least_epoch = 6, .most_epoch = 6, .most_bytes = 9}, kNoDeadline).status().code(),
            Code::kDataLoss);
}

INSTANTIATE_TEST_SUITE_P(All, Lines, ::testing::Values("Memory", "Socket", "Shared", "Mpi"),
                         [](const auto& info) { return info.param; });

TEST(SocketLine, AStalledReaderIsADeadline) {
  Sockets ends = half_raw();
  const auto big = pattern(8 << 20);
  EXPECT_EQ(ends.line->send(MessageKind::kRows, 1, big, system_clock().now() + 1'000'000).code(),
            Code::kDeadlineExceeded);
  ::close(ends.raw);
}

TEST(SocketLine, EveryChangedHeaderByteIsRefusedOrBounded) {
  std::byte good[kMessageHeaderBytes];
  write_header({MessageKind::kRows, 7, 8}, good);
  const MessageBounds bounds{.least_epoch = 7, .most_epoch = 7, .most_bytes = 8};
  ASSERT_TRUE(read_header(good, bounds).ok());
  int taken = 0;
  for (std::size_t at = 0; at < kMessageHeaderBytes; ++at) {
    for (int flip = 1; flip < 256; ++flip) {
      std::byte bad[kMessageHeaderBytes];
      std::copy(std::begin(good), std::end(good), bad);
      bad[at] ^= static_cast<std::byte>(flip);
      const auto header = read_header(bad, bounds);
      if (!header.ok()) {
        EXPECT_EQ(header.status().code(), Code::kDataLoss);
        continue;
      }
      ++taken;  // another known kind, or a shorter body
      EXPECT_TRUE(at == 4 || at == 16);
      EXPECT_LE(header->body_bytes, 8u);
    }
  }
  EXPECT_EQ(taken, 10 + 8);  // kinds 1 and 3 to 11, lengths 0 to 7
}

// Short and long turns, so that ends sleep and wake, and pieces lie across the end of the memory.
TEST(SharedLine, TurnsOfAllLengthsArrive) {
  LinePair pair = shared_pair();
  constexpr std::uint64_t kTurns = 600;
  const auto length = [](std::uint64_t turn) { return turn % 100 == 99 ? 3 * kSharedRingBytes + turn : turn * 337; };
  std::thread echo([&] {
    for (std::uint64_t turn = 0; turn < kTurns; ++turn) {
      const auto asked = pair.second->receive(kAnything, kNoDeadline);
      ASSERT_TRUE(asked.ok());
      if (turn % 50 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));  // the other end sleeps
      ASSERT_TRUE(pair.second->send(MessageKind::kOutputs, asked->epoch, asked->body, kNoDeadline).ok());
    }
  });
  for (std::uint64_t turn = 0; turn < kTurns; ++turn) {
    if (turn % 50 == 25) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    const auto body = pattern(length(turn));
    ASSERT_TRUE(pair.first->send(MessageKind::kRows, turn, body, kNoDeadline).ok());
    const auto answer = pair.first->receive(kAnything, kNoDeadline);
    ASSERT_TRUE(answer.ok());
    EXPECT_EQ(answer->epoch, turn);
    EXPECT_EQ(answer->body, body);
  }
  echo.join();
}

// A process that is killed says nothing: its end of the socket is all that tells.
TEST(SharedLine, APeerThatIsGoneIsHeardOf) {
  SharedEnds ends = half_shared();
  std::thread killer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    ::close(ends.socket);
  });
  EXPECT_EQ(ends.line->receive(kAnything, kNoDeadline).status().code(), Code::kUnavailable);
  killer.join();
  ::close(ends.memory);
}

TEST(SharedLine, AStalledReaderIsADeadline) {
  SharedEnds ends = half_shared();
  const auto big = pattern(2 * kSharedRingBytes);
  EXPECT_EQ(ends.line->send(MessageKind::kRows, 1, big, system_clock().now() + 1'000'000).code(),
            Code::kDeadlineExceeded);
  ::close(ends.socket);
  ::close(ends.memory);
}

TEST(SharedLine, MemoryOfAnotherKindAndCountsBeyondItAreRefused) {
  int fds[2];
  CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
  EXPECT_EQ(shared_line(fds[0], ::dup(fds[1]), LineEnd::kFirst).status().code(), Code::kDataLoss);
  ::close(fds[1]);
  SharedEnds ends = half_shared();
  const std::uint64_t beyond = kSharedRingBytes + 1;
  // What the second end wrote is counted at the beginning of its direction, behind the first one's.
  const auto ring = static_cast<off_t>(3 * 64 + kSharedRingBytes);
  ASSERT_EQ(::pwrite(ends.memory, &beyond, sizeof beyond, ring), static_cast<ssize_t>(sizeof beyond));
  EXPECT_EQ(ends.line->receive(kAnything, kNoDeadline).status().code(), Code::kDataLoss);
  ::close(ends.socket);
  ::close(ends.memory);
}

TEST(SocketLine, NonsenseAndCutMessagesEndTheLine) {
  std::byte header[kMessageHeaderBytes];
  write_header({MessageKind::kRows, 1, ~std::uint64_t{0}}, header);
  std::byte cut[kMessageHeaderBytes];
  write_header({MessageKind::kRows, 1, 100}, cut);
  const auto code_after = [](std::span<const std::byte> bytes) {
    Sockets ends = half_raw();
    EXPECT_EQ(::send(ends.raw, bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
    ::close(ends.raw);
    return ends.line->receive(kAnything, kNoDeadline).status().code();
  };
  EXPECT_EQ(code_after(header), Code::kDataLoss) << "a length that nobody could mean";
  EXPECT_EQ(code_after(cut), Code::kUnavailable);
  EXPECT_EQ(code_after(std::span(cut).first(5)), Code::kUnavailable);
  EXPECT_EQ(code_after(pattern(24)), Code::kDataLoss);
  EXPECT_EQ(code_after({}), Code::kUnavailable);
}

}  // namespace
}  // namespace foregate
