// Speed of every op beside what the machine can give, with Google Benchmark: GB/s next to the memory's read bandwidth,
// billions of multiply-adds a second (GMAC/s) next to the peak of the instruction set; both measured first, in this
// process, with as many threads.
//
//   kernel_bench [--isa NAME] [--threads N] [--benchmark_filter=REGEX] [--benchmark_repetitions=N] ...
#include <benchmark/benchmark.h>

#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <string>

#include "kernels/cpu/cpu_device.h"
#include "kernels/registry/registry.h"
#include "tests/bench/op_bench.h"
#include "tools/bench/machine_limits.h"

namespace foregate {
namespace {

constexpr std::int64_t kPoolBytes = std::int64_t{512} << 20;

// Takes the two flags of our own out of the command line; false when one of them is wrong.
bool take_flags(int& argc, char** argv, BackendChoice& choice) {
  int kept = 1;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag != "--isa" && flag != "--threads") {
      argv[kept++] = argv[i];
      continue;
    }
    if (++i == argc) return false;
    const char* end = argv[i] + std::strlen(argv[i]);
    if (flag == "--isa") choice.isa = argv[i];
    if (flag == "--threads" && std::from_chars(argv[i], end, choice.threads).ptr != end) return false;
  }
  argc = kept;
  return true;
}

// A small finite value in every format.
void fill_pool(const Memory& pool) {
  for (std::size_t i = 0; i + 4 <= pool.bytes(); i += 4) {
    const std::uint32_t bits = 0x3c003c00u + static_cast<std::uint32_t>(i % 64);
    std::memcpy(pool.data() + i, &bits, 4);
  }
}

void run_bench(benchmark::State& state, const OpBench& bench, const OpMachine& machine, const MachineLimits& limits) {
  using Clock = std::chrono::steady_clock;
  const PreparedOp op = bench.prepare(machine);
  op.call();
  double seconds = 0.0;
  for (auto _ : state) {
    if (op.before) op.before();
    const auto start = Clock::now();
    op.call();
    const double took = std::chrono::duration<double>(Clock::now() - start).count();
    state.SetIterationTime(took);
    seconds += took;
  }
  const double calls = static_cast<double>(state.iterations());
  const double bytes_rate = op.bytes * calls / seconds;
  state.counters["GB/s"] = bytes_rate * 1e-9;
  state.counters["%mem"] = 100.0 * bytes_rate / limits.read_bytes_per_second;
  if (op.macs == 0.0) return;
  const double peak = op.kind == MacKind::kInt8 ? limits.int8_macs_per_second : limits.f32_macs_per_second;
  state.counters["GMAC/s"] = op.macs * calls / seconds * 1e-9;
  state.counters["%peak"] = 100.0 * op.macs * calls / seconds / peak;
}

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", value);
  return text;
}

int run(const Backend& backend) {
  const auto stream = backend.device->create_stream();
  const Memory pool = backend.device->allocate(kPoolBytes);
  if (!pool) return std::fprintf(stderr, "kernel_bench: no memory\n"), 1;
  LimitOptions options;
  options.isa = backend.isa;
  options.threads = backend.threads;
  const MachineLimits limits = measure_limits(options);
  if (limits.read_bytes_per_second == 0.0) return std::fprintf(stderr, "kernel_bench: no memory\n"), 1;
  fill_pool(pool);
  benchmark::AddCustomContext("device", backend.device->describe());
  benchmark::AddCustomContext("memory read GB/s", number(limits.read_bytes_per_second * 1e-9));
  benchmark::AddCustomContext("int8 peak GMAC/s", number(limits.int8_macs_per_second * 1e-9));
  benchmark::AddCustomContext("f32 peak GMAC/s", number(limits.f32_macs_per_second * 1e-9));
  const OpMachine machine{backend.ops, *stream, pool.data(), kPoolBytes};
  for (const OpBench& bench : op_benches()) {
    benchmark::RegisterBenchmark(bench.name.c_str(),
                                 [=](benchmark::State& state) { run_bench(state, bench, machine, limits); })
        ->UseManualTime()
        ->Unit(benchmark::kMicrosecond);
  }
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace
}  // namespace foregate

int main(int argc, char** argv) {
  using namespace foregate;
  BackendChoice choice;
  if (!take_flags(argc, argv, choice)) return std::fprintf(stderr, "kernel_bench: --isa NAME, --threads N\n"), 2;
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  std::string error;
  const Backend backend = make_backend(choice, &error);
  if (backend.device == nullptr) return std::fprintf(stderr, "kernel_bench: %s\n", error.c_str()), 2;
  return run(backend);
}
