// Peers by NCCL over a double of it: groups between threads, peers that do not come, and what is said of a library that
// is none.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/nccl_peers.h"
#include "tests/cuda_host/emulator.h"

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

void plant(const char* fault) {
  void* const library = dlopen(FOREGATE_FAKE_NCCL, RTLD_NOW | RTLD_LOCAL);
  reinterpret_cast<void (*)(const char*)>(dlsym(library, "fake_nccl_plant"))(fault);
}

// What becomes of all their groups within a second.
std::vector<Peers::State> settled(const std::vector<std::unique_ptr<Peers>>& all) {
  std::vector<Peers::State> states;
  for (int tries = 0; tries < 1000; ++tries) {
    states.clear();
    for (const auto& peers : all) states.push_back(peers->state());
    if (std::find(states.begin(), states.end(), Peers::State::kRunning) == states.end()) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return states;
}

const std::vector<Peers::State> kBothDone = {Peers::State::kDone, Peers::State::kDone};
const std::vector<Peers::State> kBothFailed = {Peers::State::kFailed, Peers::State::kFailed};

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
  EXPECT_EQ(settled(peers), kBothDone);
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

// What is sent is what the stream made before, though nobody waited for the stream; a wait that is left out shows.
TEST(NcclPeers, WhatIsSentIsReadAfterTheStreamMadeIt) {
  std::string error;
  CudaDevice device;
  ASSERT_TRUE(device.open({}, &error)) << error;
  const auto stream = device.create_stream();
  const std::vector<int> out = {1, 2, 3};
  std::vector<int> in(3);
  const auto send = [&] {
    auto peers = joined(2);
    const Memory there = device.allocate(12);
    const Memory here = device.allocate(12);
    stream->upload(there.data(), out.data(), 12);
    peers[0]->after(*stream);
    const PeerBlock sends{.peer = 1, .sends = true, .data = there.data(), .bytes = 12};
    const PeerBlock gets{.peer = 0, .sends = false, .data = here.data(), .bytes = 12};
    EXPECT_TRUE(peers[0]->begin({&sends, 1}));
    EXPECT_TRUE(peers[1]->begin({&gets, 1}));
    EXPECT_EQ(settled(peers), kBothDone);
    stream->download(in.data(), here.data(), 12);
    stream->synchronize();
    return in == out;
  };
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(send());
  emu::skip_stream_waits();
  int good = 0;
  for (int i = 0; i < 20; ++i) good += send() ? 1 : 0;
  emu::clear_faults();
  EXPECT_LT(good, 20);
}

TEST(NcclPeers, ADeviceNamesItselfAndItsPeers) {
  std::string error;
  CudaDevice device;
  ASSERT_TRUE(device.open({.ordinal = 3, .wraps = true}, &error)) << error;
  EXPECT_FALSE(device.identity().empty());
  PeersOptions options{.library = FOREGATE_FAKE_NCCL};
  ASSERT_TRUE(device.name_peers(options, &error)) << error;
  EXPECT_NE(device.join_peers(options, &error), nullptr) << error;
}

TEST(NcclPeers, WhatTheLibraryCannotDoIsAFailure) {
  std::string error;
  PeerId id;
  plant("no-id");
  EXPECT_FALSE(make_nccl_id(FOREGATE_FAKE_NCCL, &id, &error));
  EXPECT_NE(error.find("ncclGetUniqueId"), std::string::npos) << error;
  plant("");
  id = new_id();
  plant("no-init");
  EXPECT_EQ(join_nccl_peers(options_of(id, 0, 1), &error), nullptr);
  EXPECT_NE(error.find("ncclCommInitRankConfig"), std::string::npos) << error;
  plant("");
  for (const char* fault : {"breaks@1", "stops@1"}) {
    auto peers = joined(2);
    int out = 1, in = 0;
    const PeerBlock sends{.peer = 1, .sends = true, .data = &out, .bytes = 4};
    const PeerBlock gets{.peer = 0, .sends = false, .data = &in, .bytes = 4};
    plant(fault);
    ASSERT_TRUE(peers[0]->begin({&sends, 1}));
    ASSERT_TRUE(peers[1]->begin({&gets, 1}));
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    const bool breaks = std::string(fault) == "breaks@1";
    EXPECT_EQ(peers[1]->state(), breaks ? Peers::State::kFailed : Peers::State::kRunning);
    EXPECT_EQ(peers[0]->state(), Peers::State::kRunning) << "its block was never taken";
    peers[0]->abort();
    EXPECT_EQ(peers[0]->state(), Peers::State::kFailed);
    plant("");
  }
}

TEST(NcclPeers, WhoWaitsForOthersCanBeTold) {
  std::string error;
  std::atomic<bool> cancelled = false;
  PeersOptions options = options_of(new_id(), 0, 2, 60);
  options.cancelled = &cancelled;
  std::thread cancels([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    cancelled = true;
  });
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(join_nccl_peers(options, &error), nullptr);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
  cancels.join();
}

TEST(NcclPeers, BlocksOfOtherSizesFailBoth) {
  auto peers = joined(2);
  std::vector<int> out(2), in(2);
  const PeerBlock sends{.peer = 1, .sends = true, .data = out.data(), .bytes = 8};
  const PeerBlock gets{.peer = 0, .sends = false, .data = in.data(), .bytes = 4};
  ASSERT_TRUE(peers[0]->begin({&sends, 1}));
  ASSERT_TRUE(peers[1]->begin({&gets, 1}));
  EXPECT_EQ(settled(peers), kBothFailed);
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
