#include "tests/cuda_host/grid.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <vector>

#include "tests/cuda_host/fiber.h"

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace foregate::emu {

Lane* g_here = nullptr;

std::uint64_t Draw::next() {
  std::uint64_t z = state_ += 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

namespace {

constexpr unsigned kWarp = 32;

enum class State : std::uint8_t { kRunnable, kAtBarrier, kAtMeeting, kDone };

struct PendingCopy {
  void* to;
  const void* from;
  std::size_t bytes;
  std::uint64_t group;
};

struct Fiber : Lane {
  Context context;
  State state = State::kRunnable;
  unsigned mask = 0;
  WarpAct act = nullptr;
  void* argument = nullptr;
  const void* barrier = nullptr;  // address of the barrier it waits at
  std::vector<PendingCopy> copies;
  std::uint64_t copy_group = 0;
};

class Grid {
 public:
  Grid(const Launch& launch, std::uint64_t seed, const Faults& faults, std::set<Site>& seen)
      : launch_(launch), faults_(faults), seen_(seen), draw_(seed) {}
  std::string run();

  Fiber& here() { return *running_; }
  void suspend(State state);
  void meet(unsigned mask, void* mine, WarpAct act);
  // Whether the barrier of this line is left out; it is noted as seen.
  bool skipped(const char* file, int line);
  const Faults& faults() const { return faults_; }
  Draw& draw() { return draw_; }
  std::byte* shared() { return shared_.data() + (16 - reinterpret_cast<std::uintptr_t>(shared_.data()) % 16) % 16; }

 private:
  void start_block(dim3 block);
  std::string run_block(dim3 block);
  void release_barrier();
  std::string stuck() const;
  bool red_zone_whole();
  static void fiber_main();

  const Launch& launch_;
  const Faults& faults_;
  std::set<Site>& seen_;
  Draw draw_;
  Context scheduler_;
  std::map<std::pair<const char*, int>, bool> lines_;
  std::vector<Fiber> fibers_;
  std::vector<std::uint32_t> runnable_;
  std::vector<std::byte> shared_;
  Fiber* running_ = nullptr;
  std::size_t done_ = 0;
  std::size_t at_barrier_ = 0;
};

constexpr std::size_t kRedZone = 256;
constexpr std::uint32_t kPoison = 0xffc0dead;  // a NaN, and a wild index

Grid* g_grid = nullptr;
FiberStacks& stacks() {
  static FiberStacks all;
  return all;
}

void Grid::fiber_main() {
  Grid& grid = *g_grid;
  if (!grid.faults_.lost_threads || &grid.here() != &grid.fibers_.front()) grid.launch_.run(grid.launch_.body);
  copy_wait(0);
  grid.suspend(State::kDone);
  std::abort();
}

bool Grid::skipped(const char* file, int line) {
  const std::pair<const char*, int> here{file, line};  // a line's name is one object, or a few
  const auto known = lines_.find(here);
  if (known != lines_.end()) return known->second;
  const Site site{file, line};
  seen_.insert(site);
  return lines_[here] = faults_.skipped.count(site) != 0;
}

void Grid::suspend(State state) {
  Fiber& fiber = *running_;
  fiber.state = state;
  if (state == State::kDone) ++done_;
  if (state == State::kAtBarrier) ++at_barrier_;
  switch_to(fiber.context, scheduler_);
}

void Grid::meet(unsigned mask, void* mine, WarpAct act) {
  Fiber& fiber = *running_;
  fiber.mask = mask;
  fiber.act = act;
  fiber.argument = mine;
  fiber.state = State::kAtMeeting;
  void* arguments[kWarp] = {};
  Fiber* warp = &fibers_[static_cast<std::size_t>(fiber.warp) * kWarp];
  const std::size_t lanes = std::min<std::size_t>(kWarp, fibers_.size() - fiber.warp * kWarp);
  for (std::size_t i = 0; i < lanes; ++i) {
    if ((mask >> i & 1) == 0) continue;
    if (warp[i].state != State::kAtMeeting || warp[i].act != act || warp[i].mask != mask) return suspend(fiber.state);
    arguments[i] = warp[i].argument;
  }
  act(arguments);
  for (std::size_t i = 0; i < lanes; ++i) {
    if ((mask >> i & 1) == 0) continue;
    warp[i].state = State::kRunnable;
    if (&warp[i] != &fiber) runnable_.push_back(static_cast<std::uint32_t>(&warp[i] - fibers_.data()));
  }
}

void Grid::start_block(dim3 block) {
  const dim3 size = launch_.config.blockDim;
  for (std::size_t i = 0; i < fibers_.size(); ++i) {
    Fiber& fiber = fibers_[i];
    const auto n = static_cast<unsigned>(i);
    fiber.thread = {n % size.x, n / size.x % size.y, n / size.x / size.y};
    fiber.lane = n % kWarp;
    fiber.warp = n / kWarp;
    fiber.state = State::kRunnable;
    fiber.copies.clear();
    prepare(fiber.context, stacks().top(i), fiber_main);
    runnable_.push_back(n);
  }
  blockIdx = block;
  blockDim = size;
  gridDim = launch_.config.gridDim;
  done_ = at_barrier_ = 0;
  for (std::size_t i = 0; i + 4 <= shared_.size(); i += 4) std::memcpy(shared_.data() + i, &kPoison, 4);
}

void Grid::release_barrier() {
  for (std::size_t i = 0; i < fibers_.size(); ++i) {
    if (fibers_[i].state != State::kAtBarrier) continue;
    fibers_[i].state = State::kRunnable;
    runnable_.push_back(static_cast<std::uint32_t>(i));
  }
  at_barrier_ = 0;
}

std::string Grid::stuck() const {
  std::size_t meeting = 0;
  for (const Fiber& fiber : fibers_) meeting += fiber.state == State::kAtMeeting ? 1 : 0;
  return "threads wait for others that never come: " + std::to_string(at_barrier_) + " at a barrier, " +
         std::to_string(meeting) + " in a warp, " + std::to_string(done_) + " have ended";
}

bool Grid::red_zone_whole() {
  const std::byte* end = shared_.data() + shared_.size();
  for (const std::byte* at = end - kRedZone / 2; at + 4 <= end; at += 4) {
    if (std::memcmp(at, &kPoison, 4) != 0) return false;
  }
  return true;
}

std::string Grid::run_block(dim3 block) {
  start_block(block);
  while (done_ < fibers_.size()) {
    if (runnable_.empty()) {
      if (at_barrier_ == 0 || at_barrier_ + done_ < fibers_.size()) return stuck();
      release_barrier();
    }
    const std::uint32_t pick = draw_.below(static_cast<std::uint32_t>(runnable_.size()));
    running_ = &fibers_[runnable_[pick]];
    runnable_[pick] = runnable_.back();
    runnable_.pop_back();
    g_here = running_;
    threadIdx = running_->thread;
    switch_to(scheduler_, running_->context);
  }
  return red_zone_whole() ? "" : "a thread wrote beyond the shared memory of its launch";
}

std::string Grid::run() {
  const dim3 grid = launch_.config.gridDim;
  const dim3 size = launch_.config.blockDim;
  fibers_.resize(static_cast<std::size_t>(size.x) * size.y * size.z);
  shared_.resize((launch_.config.dynamicSmemBytes + 15) / 16 * 16 + kRedZone);
  const std::uint64_t blocks = static_cast<std::uint64_t>(grid.x) * grid.y * grid.z;
  // A stride that meets every block once, in an order of its own.
  std::uint64_t stride = blocks > 2 ? 1 + draw_.next() % (blocks - 1) : 1;
  while (std::__gcd(stride, blocks) != 1) ++stride;
  const std::uint64_t start = draw_.next() % blocks;
  for (std::uint64_t i = 0; i < blocks; ++i) {
    const auto n = static_cast<unsigned>((start + i * stride) % blocks);
    if (faults_.short_grids && n + 1 == blocks) continue;
    std::string report = run_block({n % grid.x, n / grid.x % grid.y, n / grid.x / grid.y});
    if (!report.empty()) return report;
  }
  return "";
}

}  // namespace

void* shared_memory() {
  return g_grid->shared();
}

void block_barrier(const char* file, int line) {
  if (!g_grid->skipped(file, line)) g_grid->suspend(State::kAtBarrier);
}

void warp_barrier(unsigned mask, const char* file, int line) {
  if (!g_grid->skipped(file, line)) warp_meet(mask, nullptr, [](void* const*) {});
}

void warp_meet(unsigned mask, void* mine, WarpAct act) {
  g_grid->meet(mask, mine, act);
}

void shuffle(unsigned mask, Shuffle& mine) {
  if (g_grid->faults().turn != 0) mine.from = (mine.from + g_grid->faults().turn) % static_cast<int>(kWarp);
  warp_meet(mask, &mine, [](void* const* lanes) {
    for (unsigned i = 0; i < kWarp; ++i) {
      auto* lane = static_cast<Shuffle*>(lanes[i]);
      if (lane == nullptr) continue;
      const auto* source = static_cast<const Shuffle*>(lanes[lane->from]);
      lane->got = source != nullptr ? source->value : Shuffle{}.value;
    }
  });
}

unsigned vote(unsigned mask, bool yes) {
  Vote mine{yes, 0};
  warp_meet(mask, &mine, [](void* const* lanes) {
    unsigned ballot = 0;
    for (unsigned i = 0; i < kWarp; ++i) {
      if (lanes[i] != nullptr && static_cast<Vote*>(lanes[i])->yes) ballot |= 1u << i;
    }
    for (unsigned i = 0; i < kWarp; ++i) {
      if (lanes[i] != nullptr) static_cast<Vote*>(lanes[i])->ballot = ballot;
    }
  });
  return mine.ballot;
}

void copy_async(void* to, const void* from, std::size_t bytes) {
  if (g_grid->draw().below(4) == 0) {
    std::memcpy(to, from, bytes);
  } else {
    g_grid->here().copies.push_back({to, from, bytes, g_grid->here().copy_group});
  }
}
void copy_commit() {
  ++g_grid->here().copy_group;
}
void copy_wait(unsigned groups_left) {
  Fiber& fiber = g_grid->here();
  if (g_grid->faults().no_copy_waits) return fiber.copies.clear();
  std::erase_if(fiber.copies, [&](const PendingCopy& copy) {
    if (copy.group + groups_left >= fiber.copy_group) return false;
    std::memcpy(copy.to, copy.from, copy.bytes);
    return true;
  });
}

std::string run_grid(const Launch& launch, std::uint64_t seed, const Faults& faults, std::set<Site>& seen) {
  Grid grid(launch, seed, faults, seen);
  g_grid = &grid;
  std::string report = grid.run();
  g_grid = nullptr;
  return report;
}

}  // namespace foregate::emu
