// Experts shared among GPUs, a thread and a GPU each: the tokens of one GPU, with rows over lines in memory and from
// GPU to GPU by NCCL and how much crossed. What the link gives is gpu_peers'. With one GPU there is one rank, and a
// second over the line. In emulation NCCL is a double, to test this program.
//
//   gpu_ranks [--module PATH] [--library NCCL] [--ranks N] [--tokens N] [--model DIR]
//
// --ranks: that are peers, each with a GPU of its own. The last line is "N passed, M failed". Exit 0: all passed.
#include "tests/gpu/gpu_ranks.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "tests/engine/model/driver.h"
#include "tests/engine/model/rank_plans.h"

namespace foregate {
namespace {

struct RankOptions {
  std::string module, library, model = demo_dir();
  std::int32_t ranks = 1;
  std::int32_t tokens = 64;
};

const std::vector<Token> kPrompt = {5, 9, 11, 40, 3, 17, 29};

bool parse(int argc, char** argv, RankOptions& options) {
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string flag = argv[i];
    const char* value = argv[i + 1];
    if (flag == "--module") options.module = value;
    if (flag == "--library") options.library = value;
    if (flag == "--model") options.model = value;
    if (flag == "--ranks") std::from_chars(value, value + std::strlen(value), options.ranks);
    if (flag == "--tokens") std::from_chars(value, value + std::strlen(value), options.tokens);
  }
  return argc % 2 == 1 && options.ranks >= 1 && options.tokens >= 1;
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

struct Ran {
  std::vector<Token> tokens;
  double seconds = 0.0;
};

Ran run(const RankOptions& options, ExpertRanks* ranks) {
  DriverOptions on_gpu;
  on_gpu.isa = "auto";
  on_gpu.cuda_module = options.module;
  on_gpu.ranks = ranks;
  on_gpu.eager = true;  // as with ranks
  Driver driver(options.model, on_gpu);
  greedy_tokens(driver, kPrompt, 2);
  const auto start = std::chrono::steady_clock::now();
  Ran ran{.tokens = greedy_tokens(driver, kPrompt, static_cast<std::size_t>(options.tokens))};
  ran.seconds = seconds_since(start);
  return ran;
}

struct Counts {
  int passed = 0, failed = 0;
  void count(bool good, const char* what) {
    ++(good ? passed : failed);
    if (!good) std::printf("FAILED: %s\n", what);
  }
};

// One way, or one way of so many ranks, beside the tokens of one GPU.
void check(const RankOptions& options, std::int32_t ranks, bool peers, const Ran& alone, Counts& counts) {
  GpuRanks team(options.model, plan_for(options.model, ranks, false),
                {.module = options.module, .peers = peers, .library = options.library});
  for (std::int32_t r = 1; r < ranks; ++r) {
    if (peers && !team.by_peers(RankId{r})) {
      std::printf("rank %d is no peer: %s\n", r, team.why_not(RankId{r}).c_str());
      return counts.count(false, "ranks with a GPU each are peers");
    }
  }
  const Ran ran = run(options, &team);
  const Crossed& crossed = team.crossed();
  std::printf(
      "%d ranks%s: %.1f tokens/s, %llu rows and %.3f MB crossed, %.3f MB of them by NCCL, %.4f GB/s of the step\n",
      ranks,
      ranks == 1 ? ""
      : peers    ? " by NCCL"
                 : " over lines",
      options.tokens / ran.seconds, static_cast<unsigned long long>(crossed.rows),
      1e-6 * static_cast<double>(crossed.bytes), 1e-6 * static_cast<double>(crossed.peer_bytes),
      1e-9 * static_cast<double>(crossed.bytes) / ran.seconds);
  counts.count(ran.tokens == alone.tokens, "the tokens of one GPU");
  counts.count((crossed.rows > 0) == (ranks > 1), "rows cross where there are several ranks");
  counts.count((crossed.peer_bytes > 0) == (peers && ranks > 1), "by NCCL where they are peers");
  counts.count(team.dropped().empty(), "no rank was dropped");
}

void usage() {
  std::fprintf(stderr, "usage: gpu_ranks [--module PATH] [--library NCCL] [--ranks N] [--tokens N] [--model DIR]\n");
}

}  // namespace
}  // namespace foregate

int main(int argc, char** argv) {
  using namespace foregate;
  RankOptions options;
  if (!parse(argc, argv, options)) return usage(), 2;
  const Ran alone = run(options, nullptr);
  std::printf("one GPU: %.1f tokens/s\n", options.tokens / alone.seconds);
  Counts counts;
  check(options, 1, false, alone, counts);
  check(options, std::max(options.ranks, 2), false, alone, counts);
  if (options.ranks > 1) check(options, options.ranks, true, alone, counts);
  std::printf("%d passed, %d failed\n", counts.passed, counts.failed);
  return counts.failed == 0 ? 0 : 1;
}
