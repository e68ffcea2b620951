// How ranks become peers, and what the keeper of ranks makes of it: devices that are none, on lines in memory.
#include "engine/runtime/peer_join.h"

#include <gtest/gtest.h>

#include <chrono>

#include "engine/comm/peer_wait.h"

namespace foregate {
namespace {

// Peers whose group is never done.
class IdlePeers final : public Peers {
 public:
  explicit IdlePeers(std::int32_t rank) : rank_(rank) {}
  std::int32_t rank() const override { return rank_; }
  std::int32_t size() const override { return 2; }
  void after(Stream&) override {}
  bool begin(std::span<const PeerBlock>) override { return failure_.empty(); }
  State state() override { return failure_.empty() ? State::kRunning : State::kFailed; }
  void abort() override { failure_ = "aborted"; }
  const std::string& failure() const override { return failure_; }

 private:
  std::int32_t rank_;
  std::string failure_;
};

class PeerDevice final : public Device {
 public:
  explicit PeerDevice(std::string identity, std::string missing = {}, std::string refuses = {})
      : identity_(std::move(identity)), missing_(std::move(missing)), refuses_(std::move(refuses)) {}
  std::string describe() const override { return identity_; }
  Memory allocate(std::size_t) override { return {}; }
  std::unique_ptr<Stream> create_stream() override { return nullptr; }
  std::string identity() const override { return identity_; }
  std::string peers_missing(const std::string&) const override { return missing_; }
  bool name_peers(PeersOptions& options, std::string*) override {
    options.id.fill(std::byte{7});
    return true;
  }
  std::shared_ptr<Peers> join_peers(const PeersOptions& options, std::string* error) override {
    *error = refuses_;
    id = options.id;
    if (!refuses_.empty()) return nullptr;
    return std::make_shared<IdlePeers>(options.rank);
  }
  PeerId id = {};

 private:
  std::string identity_, missing_, refuses_;
};

struct Both {
  std::shared_ptr<Peers> near, far;
  std::string why_not;
};

Both meet(PeerDevice& first, PeerDevice& second, DeviceBook& book, RankId rank = RankId{1}) {
  auto [near, far] = memory_line();
  Both both;
  std::thread other([&both, &second, &far = *far] {
    auto answer = answer_peer(far, second, "");
    ASSERT_TRUE(answer.ok()) << answer.status().to_string();
    both.far = answer->call.peers;
    EXPECT_EQ(answer->answer_limit, 5);
  });
  PeerJoin join(rank, std::move(near),
                {.device = &first, .library = "", .join_limit = 1'000'000'000, .answer_limit = 5}, book);
  other.join();
  while (!join.done()) std::this_thread::yield();
  both.near = join.peers();
  both.why_not = join.why_not();
  return both;
}

TEST(PeerJoin, TwoDevicesBecomePeersByOneName) {
  PeerDevice first("a 0"), second("a 1");
  DeviceBook book("a 0");
  const Both both = meet(first, second, book);
  ASSERT_NE(both.near, nullptr) << both.why_not;
  ASSERT_NE(both.far, nullptr);
  EXPECT_EQ(both.near->rank(), 0);
  EXPECT_EQ(both.far->rank(), 1);
  EXPECT_EQ(first.id, second.id);
  EXPECT_EQ(first.id[0], std::byte{7});
}

TEST(PeerJoin, WhatStandsAgainstItIsSaid) {
  PeerDevice first("a 0"), same("a 0"), none("", ""), without("a 1", "no libnccl.so.2"),
      fails("a 1", "", "out of memory");
  DeviceBook book("a 0");
  const auto why = [&](PeerDevice& one, PeerDevice& other) {
    const Both both = meet(one, other, book);
    EXPECT_EQ(both.near, nullptr);
    return both.why_not;
  };
  EXPECT_EQ(why(first, same), "it shares a 0 with rank 0");
  EXPECT_EQ(why(first, none), "its device has no name");
  EXPECT_EQ(why(first, without), "no libnccl.so.2");
  EXPECT_EQ(why(first, fails), "out of memory");
  EXPECT_EQ(why(fails, without), "no libnccl.so.2");
}

TEST(PeerJoin, ADeviceIsFreeAgainWhenItsRankHasGone) {
  DeviceBook book("a 0");
  EXPECT_EQ(book.enter(RankId{1}, "a 1"), "");
  EXPECT_EQ(book.enter(RankId{2}, "a 1"), "it shares a 1 with rank 1");
  book.leave(RankId{1});
  EXPECT_EQ(book.enter(RankId{2}, "a 1"), "");
}

// The rank never says anything, or goes while its rows are waited for.
TEST(PeerJoin, TheEndOfARankEndsItsWaits) {
  PeerDevice first("a 0");
  DeviceBook book("a 0");
  auto [near, far] = memory_line();
  auto join = std::make_unique<PeerJoin>(RankId{1}, std::move(near), PeerPolicy{.device = &first, .library = ""}, book);
  const auto gone = join->cancelled();
  EXPECT_FALSE(*gone);
  IdlePeers peers(0);
  ASSERT_TRUE(begin_send(peers, nullptr, 4).ok());
  join.reset();
  EXPECT_TRUE(*gone);
  EXPECT_EQ(finish_group(peers, kNoDeadline, gone.get()).code(), Code::kUnavailable);
  EXPECT_FALSE(peers.failure().empty()) << "it was aborted";
}

TEST(PeerJoin, WhatIsNoCallEndsIt) {
  PeerDevice first("a 0");
  auto [near, far] = memory_line();
  const std::vector<std::byte> nonsense(3);
  ASSERT_TRUE(far->send(MessageKind::kPeers, 0, nonsense, kNoDeadline).ok());
  EXPECT_EQ(call_peer(*near, first, {}).status().code(), Code::kDataLoss);
  auto [here, there] = memory_line();
  ASSERT_TRUE(here->send(MessageKind::kPeers, 0, nonsense, kNoDeadline).ok());
  EXPECT_EQ(answer_peer(*there, first, "").status().code(), Code::kDataLoss);
}

TEST(PeerJoin, WordsForTheWayAreKnown) {
  EXPECT_EQ(*exchange_transport_named("auto"), ExchangeTransport::kAuto);
  EXPECT_EQ(*exchange_transport_named("line"), ExchangeTransport::kLine);
  EXPECT_EQ(*exchange_transport_named("nccl"), ExchangeTransport::kNccl);
  EXPECT_EQ(exchange_transport_named("mpi").status().code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace foregate
