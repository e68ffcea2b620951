// Peers of a CUDA module, a thread and a GPU each: blocks all to all, and a peer that never comes. With one GPU a peer
// sends to itself. In emulation NCCL is a double, to test this program.
//
//   gpu_peers [--module PATH] [--library NCCL] [--peers N] [--link-bytes N]
//
// The last line is "N passed, M failed". Exit 0: all passed, 1: some failed, 2: there is no NCCL or no GPU.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "kernels/registry/gpu.h"

namespace foregate::testing {
namespace {

constexpr std::size_t kSizes[] = {4, 1000, 1 << 20};
constexpr double kLimitSeconds = 20;

struct PeerCheckOptions {
  GpuChoice gpu;
  std::string library;
  std::int32_t peers = 1;
  std::size_t link_bytes = std::size_t{16} << 20;  // of the block by which the link is measured
};

bool parse(int argc, char** argv, PeerCheckOptions& options) {
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string flag = argv[i];
    const char* value = argv[i + 1];
    if (flag == "--module") options.gpu.module = value;
    if (flag == "--library") options.library = value;
    if (flag == "--link-bytes") std::from_chars(value, value + std::strlen(value), options.link_bytes);
    if (flag == "--peers") std::from_chars(value, value + std::strlen(value), options.peers);
  }
  return argc % 2 == 1 && options.peers >= 1;
}

std::byte value_at(std::int32_t from, std::int32_t to, std::size_t i) {
  return static_cast<std::byte>((static_cast<std::size_t>(from * 31 + to * 7) + i) % 251);
}

bool done_in_time(Peers& peers) {
  const auto limit = std::chrono::steady_clock::now() + std::chrono::duration<double>(kLimitSeconds);
  while (std::chrono::steady_clock::now() < limit) {
    const Peers::State state = peers.state();
    if (state != Peers::State::kRunning) return state == Peers::State::kDone;
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
  return false;
}

// Everybody sends `bytes` to everybody, itself too.
bool all_to_all(const GpuChoice& gpu, Peers& peers, std::size_t bytes) {
  std::vector<std::byte*> sent, received;
  std::vector<PeerBlock> blocks;
  for (std::int32_t peer = 0; peer < peers.size(); ++peer) {
    std::string error;
    sent.push_back(static_cast<std::byte*>(gpu_shared_memory(gpu, bytes, &error)));
    received.push_back(static_cast<std::byte*>(gpu_shared_memory(gpu, bytes, &error)));
    if (sent.back() == nullptr || received.back() == nullptr) return false;
    for (std::size_t i = 0; i < bytes; ++i) sent.back()[i] = value_at(peers.rank(), peer, i);
    std::memset(received.back(), 0xff, bytes);
    blocks.push_back({.peer = peer, .sends = true, .data = sent.back(), .bytes = bytes});
    blocks.push_back({.peer = peer, .sends = false, .data = received.back(), .bytes = bytes});
  }
  if (!peers.begin(blocks) || !done_in_time(peers)) return false;
  for (std::int32_t peer = 0; peer < peers.size(); ++peer) {
    for (std::size_t i = 0; i < bytes; ++i) {
      if (received[static_cast<std::size_t>(peer)][i] != value_at(peer, peers.rank(), i)) return false;
    }
  }
  return true;
}

// A block that nobody sends is waited for until it is aborted (NCCL itself refuses one that a peer should send to
// itself); whoever has failed says so from then on. All look before the first one aborts.
bool abort_ends_it(const GpuChoice& gpu, Peers& peers) {
  std::string error;
  void* const to = gpu_shared_memory(gpu, 64, &error);
  const PeerBlock block{.peer = (peers.rank() + 1) % peers.size(), .sends = false, .data = to, .bytes = 64};
  if (to == nullptr) return false;
  if (peers.size() > 1) {
    if (!peers.begin({&block, 1})) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    if (peers.state() != Peers::State::kRunning) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
  }
  peers.abort();
  return peers.state() == Peers::State::kFailed && !peers.begin({&block, 1}) && !peers.failure().empty();
}

// Bytes per second of one large block to the next peer while one comes from the one before, best of three.
double link_rate(const GpuChoice& gpu, Peers& peers, std::size_t bytes) {
  std::string error;
  GpuChoice own = gpu;
  own.ordinal = peers.rank();
  own.wraps = true;
  const Backend backend = make_gpu_backend(own, &error);
  if (backend.device == nullptr) return 0;
  const Memory out = backend.device->allocate(bytes), in = backend.device->allocate(bytes);
  if (!out || !in) return 0;
  const std::int32_t next = (peers.rank() + 1) % peers.size(), last = (peers.rank() + peers.size() - 1) % peers.size();
  const PeerBlock blocks[] = {{.peer = next, .sends = true, .data = out.data(), .bytes = bytes},
                              {.peer = last, .sends = false, .data = in.data(), .bytes = bytes}};
  double best = 0;
  for (int round = 0; round < 3; ++round) {
    const auto start = std::chrono::steady_clock::now();
    if (!peers.begin(blocks) || !done_in_time(peers)) return 0;
    best = std::max(best, static_cast<double>(bytes) /
                              std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

struct Result {
  double link = 0;
  int passed = 0, failed = 0;
  bool joined = false;
  std::string why;
  void count(bool good) { ++(good ? passed : failed); }
};

void run(const PeerCheckOptions& options, PeerId id, std::int32_t rank, Result& result) {
  const auto peers = join_gpu_peers(options.gpu,
                                    {.library = options.library,
                                     .ordinal = rank,
                                     .rank = rank,
                                     .size = options.peers,
                                     .id = id,
                                     .limit_seconds = kLimitSeconds},
                                    &result.why);
  if (peers == nullptr) return;
  result.joined = true;
  for (const std::size_t bytes : kSizes) result.count(all_to_all(options.gpu, *peers, bytes));
  result.link = link_rate(options.gpu, *peers, options.link_bytes);
  result.count(result.link > 0);
  result.count(abort_ends_it(options.gpu, *peers));
  const PeerBlock nobody{.peer = options.peers, .data = nullptr, .bytes = 0};
  result.count(!peers->begin({&nobody, 1}));
  result.why = peers->failure();
}

int check(const PeerCheckOptions& options) {
  PeerId id;
  std::string error;
  if (!make_gpu_peer_id(options.gpu, options.library, &id, &error)) {
    std::printf("no peers: %s\n", error.c_str());
    return 2;
  }
  std::vector<Result> results(static_cast<std::size_t>(options.peers));
  std::vector<std::thread> threads;
  for (std::int32_t rank = 0; rank < options.peers; ++rank) {
    threads.emplace_back([&, rank] { run(options, id, rank, results[static_cast<std::size_t>(rank)]); });
  }
  for (std::thread& thread : threads) thread.join();
  Result sum;
  for (const Result& result : results) {
    if (!result.joined) {
      std::printf("a peer did not join: %s\n", result.why.c_str());
      return 2;
    }
    sum.passed += result.passed;
    sum.failed += result.failed;
  }
  std::printf("%.3f GB/s to the next peer, and as many from the one before\n", 1e-9 * results[0].link);
  std::printf("%d peers, the last word: %s\n%d passed, %d failed\n", options.peers, results[0].why.c_str(), sum.passed,
              sum.failed);
  return sum.failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace foregate::testing

int main(int argc, char** argv) {
  foregate::testing::PeerCheckOptions options;
  if (foregate::testing::parse(argc, argv, options)) return foregate::testing::check(options);
  std::fprintf(stderr, "usage: gpu_peers [--module PATH] [--library NCCL] [--peers N] [--link-bytes N]\n");
  return 2;
}
