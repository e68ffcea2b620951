// Peers by NCCL over a double of it: groups between threads, peers that do not come, and what is said of a library that
// is none.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <vector>

#include "kernels/cuda/nccl_peers.h"

namespace foregate {
namespace {

PeersOptions options_of(const PeerId& id, std::int32_t rank, std::int32_t size, double limit = 20) {
  return {.library = FOREGATE_FAKE_NCCL, .rank = rank, .size = size, .id = id, .limit_seconds = limit};
}

PeerId new_id() {
  PeerId id{};
  std::string error;
  EXPECT_TRUE(make_nccl_id(FOREGATE_FAKE_NCCL, &id, &error)) << error;
  return id;
}

std::vector<std::unique_ptr<Peers>> joined(std::int32_t size) {
  const PeerId id = new_id();
  std::vector<std::unique_ptr<Peers>> peers(static_cast<std::size_t>(size));
  std::vector<std::thread> threads;
  for (std::int32_t rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      std::string error;
      peers[static_cast<std::size_t>(rank)] = join_nccl_peers(options_of(id, rank, size), &error);
      EXPECT_NE(peers[static_cast<std::size_t>(rank)], nullptr) << error;
    });
  }
  for (std::thread& thread : threads) thread.join();
  return peers;
}

TEST(NcclPeers, AGroupIsDoneWhenAllItsBlocksHaveArrived) {
  auto peers = joined(2);
  std::vector<int> out = {1, 2, 3}, in(3), back(3);
  const PeerBlock sends{.peer = 1, .sends = true, .data = out.data(), .bytes = 12};
  const PeerBlock gets{.peer = 1, .sends = false, .data = back.data(), .bytes = 12};
  const std::vector<PeerBlock> first = {sends, gets};
  ASSERT_TRUE(peers[0]->begin(first));
  EXPECT_EQ(peers[0]->state(), Peers::State::kRunning) << "the other has given nothing";
  const std::vector<PeerBlock> second = {{.peer = 0, .sends = false, .data = in.data(), .bytes = 12},
                                         {.peer = 0, .sends = true, .data = out.data(), .bytes = 12}};
  ASSERT_TRUE(peers[1]->begin(second));
  EXPECT_EQ(peers[1]->state(), Peers::State::kDone);
  EXPECT_EQ(peers[0]->state(), Peers::State::kDone);
  EXPECT_EQ(in, out);
  EXPECT_EQ(back, out);
}

TEST(NcclPeers, AbortEndsWhatIsUnderWay) {
  auto peers = joined(2);
  int to = 0;
  const PeerBlock block{.peer = 1, .sends = false, .data = &to, .bytes = 4};
  ASSERT_TRUE(peers[0]->begin({&block, 1}));
  EXPECT_FALSE(peers[0]->begin({&block, 1})) << "one at a time";
  peers[0]->abort();
  EXPECT_EQ(peers[0]->state(), Peers::State::kFailed);
  EXPECT_FALSE(peers[0]->begin({&block, 1}));
  EXPECT_FALSE(peers[0]->failure().empty());
}

TEST(NcclPeers, APeerThatNeverJoinsIsALimit) {
  std::string error;
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(join_nccl_peers(options_of(new_id(), 0, 2, 0.05), &error), nullptr);
  EXPECT_NE(error.find("not all joined"), std::string::npos) << error;
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
}

TEST(NcclPeers, BlocksOfOtherSizesFailBoth) {
  auto peers = joined(2);
  std::vector<int> out(2), in(2);
  const PeerBlock sends{.peer = 1, .sends = true, .data = out.data(), .bytes = 8};
  const PeerBlock gets{.peer = 0, .sends = false, .data = in.data(), .bytes = 4};
  ASSERT_TRUE(peers[0]->begin({&sends, 1}));
  ASSERT_TRUE(peers[1]->begin({&gets, 1}));
  EXPECT_EQ(peers[1]->state(), Peers::State::kFailed);
  EXPECT_EQ(peers[0]->state(), Peers::State::kFailed);
  EXPECT_NE(peers[0]->failure().find("NCCL"), std::string::npos);
}

TEST(NcclPeers, WhatIsNoneIsSaid) {
  std::string error;
  PeerId id;
  EXPECT_FALSE(make_nccl_id("/nowhere/libnccl.so.2", &id, &error));
  EXPECT_NE(error.find("/nowhere"), std::string::npos);
  EXPECT_FALSE(make_nccl_id("libm.so.6", &id, &error));
  EXPECT_NE(error.find("no NCCL"), std::string::npos) << error;
  auto peers = joined(1);
  const PeerBlock nobody{.peer = 1, .sends = true, .data = nullptr, .bytes = 0};
  EXPECT_FALSE(peers[0]->begin({&nobody, 1}));
}

}  // namespace
}  // namespace foregate
