// Kernel speed against the machine: linear, expert_ffn and attention as GB/s and GFLOP/s, next to the
// read bandwidth and the FMA peak measured in the same run. Medians and, for a busy machine, the best
// run; percentages are of that bandwidth and that peak. Weights rotate through more
// memory than the caches hold.
//
//   kernel_bench [--isa NAME] [--threads N] [--seconds S] [--only linear|ffn|attention]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "kernels/cpu/cpu_device.h"
#include "kernels/registry/registry.h"

namespace foregate {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::int64_t kRotateBytes = std::int64_t{512} << 20;  // more than any last-level cache share

struct Options {
  BackendChoice choice;
  double seconds = 0.6;
  std::string only;
};

struct Timing {
  double median = 0;
  double best = 0;
};

Timing time_of(double budget, const std::function<void()>& body) {
  body();
  std::vector<double> times;
  const auto start = Clock::now();
  while (times.size() < 5 || std::chrono::duration<double>(Clock::now() - start).count() < budget) {
    const auto from = Clock::now();
    body();
    times.push_back(std::chrono::duration<double>(Clock::now() - from).count());
  }
  std::sort(times.begin(), times.end());
  return {times[times.size() / 2], times.front()};
}

class Bench {
 public:
  Bench(const Options& options, Backend backend)
      : options_(options), backend_(std::move(backend)), stream_(backend_.device->create_stream()) {}

  void measure_machine();
  void linear(WeightFormat format);
  void expert_ffn(WeightFormat format);
  void attention(DType type);

 private:
  const OpTable& ops() const { return backend_.ops; }
  ThreadPool& pool() { return static_cast<CpuStream&>(*stream_).pool(); }
  bool wanted(const char* what) const { return options_.only.empty() || options_.only == what; }
  void report(const std::string& name, Timing time, double bytes, double flops) const {
    std::printf("%-44s %9.1f us  %6.2f GB/s (%3.0f%%) %7.1f GFLOP/s (%3.0f%%) | best %9.1f us %3.0f%% %3.0f%%\n",
                name.c_str(), time.median * 1e6, bytes / time.median * 1e-9, 100 * bytes / time.median / bandwidth_,
                flops / time.median * 1e-9, 100 * flops / time.median / peak_, time.best * 1e6,
                100 * bytes / time.best / bandwidth_, 100 * flops / time.best / peak_);
    std::fflush(stdout);
  }
  Memory filled(std::int64_t bytes);

  Options options_;
  Backend backend_;
  std::unique_ptr<Stream> stream_;
  double bandwidth_ = 1;
  double peak_ = 1;
};

// Reads one slice of a large buffer per item.
struct ReadJob {
  const std::uint64_t* data;
  std::int64_t slice;
  std::uint64_t* sinks;
  static void item(void* context, std::int64_t i, int) {
    const ReadJob& job = *static_cast<ReadJob*>(context);
    const std::uint64_t* from = job.data + i * job.slice;
    std::uint64_t sum[8] = {};
    for (std::int64_t at = 0; at < job.slice; at += 8) {
      __builtin_prefetch(reinterpret_cast<const char*>(from + at) + 4096);
      for (int lane = 0; lane < 8; ++lane) sum[lane] += from[at + lane];
    }
    for (const std::uint64_t s : sum) job.sinks[i] += s;
  }
};

// Registers only: twelve independent chains of vector multiply-adds.
constexpr std::int64_t kPeakSteps = 200000;
constexpr double kPeakFlops = 2.0 * 12 * 16 * kPeakSteps;  // of one item, sixteen lanes each
typedef float Float4 __attribute__((vector_size(16)));

void peak_generic(float* sink) {
  const Float4 x = {sink[0], sink[0], sink[0], sink[0]};
  Float4 sum[12];
  for (int i = 0; i < 12; ++i) sum[i] = x * static_cast<float>(i);  // all different, or they would be merged
  for (std::int64_t i = 0; i < 4 * kPeakSteps; ++i) {
#pragma GCC unroll 12
    for (Float4& s : sum) s = s * x + x;
  }
  for (const Float4& s : sum) sink[0] += s[0];
}
#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) void peak_avx2(float* sink) {
  const __m256 x = _mm256_set1_ps(sink[0]);
  __m256 sum[12];
  for (int i = 0; i < 12; ++i) sum[i] = _mm256_set1_ps(sink[0] * static_cast<float>(i));
  for (std::int64_t i = 0; i < 2 * kPeakSteps; ++i) {
#pragma GCC unroll 12
    for (__m256& s : sum) s = _mm256_fmadd_ps(s, x, x);
  }
  for (const __m256& s : sum) sink[0] += _mm256_cvtss_f32(s);
}
__attribute__((target("avx512f"))) void peak_avx512(float* sink) {
  const __m512 x = _mm512_set1_ps(sink[0]);
  __m512 sum[12];
  for (int i = 0; i < 12; ++i) sum[i] = _mm512_set1_ps(sink[0] * static_cast<float>(i));
  for (std::int64_t i = 0; i < kPeakSteps; ++i) {
#pragma GCC unroll 12
    for (__m512& s : sum) s = _mm512_fmadd_ps(s, x, x);
  }
  for (const __m512& s : sum) sink[0] += _mm512_cvtss_f32(s);
}
#endif

struct PeakJob {
  std::string isa;
  static void item(void* context, std::int64_t i, int) {
    const std::string& isa = static_cast<PeakJob*>(context)->isa;
    float sink = 0.5f + 1e-6f * static_cast<float>(i);
#if defined(__x86_64__)
    const auto peak = isa == "avx512" ? peak_avx512 : isa == "avx2" ? peak_avx2 : peak_generic;
#else
    const auto peak = peak_generic;
#endif
    peak(&sink);
    if (sink == 0.0f) std::abort();
  }
};

// A small finite value in every format.
Memory Bench::filled(std::int64_t bytes) {
  Memory memory = backend_.device->allocate(static_cast<std::size_t>(bytes));
  if (!memory) {
    std::fprintf(stderr, "not enough memory for %lld bytes\n", static_cast<long long>(bytes));
    std::exit(1);
  }
  for (std::size_t i = 0; i + 4 <= memory.bytes(); i += 4) {
    const std::uint32_t bits = 0x3c003c00u + static_cast<std::uint32_t>(i % 64);
    std::memcpy(memory.data() + i, &bits, 4);
  }
  return memory;
}

// Read bandwidth of all threads and the FMA peak, each the best of many runs.
void Bench::measure_machine() {
  const Memory memory = filled(kRotateBytes);
  constexpr std::int64_t kItems = 256;
  std::vector<std::uint64_t> sinks(kItems);
  ReadJob job{reinterpret_cast<const std::uint64_t*>(memory.data()), kRotateBytes / 8 / kItems, sinks.data()};
  const double read = time_of(2, [&] { pool().run(kItems, ReadJob::item, &job); }).best;
  bandwidth_ = static_cast<double>(kRotateBytes) / read;

  double best = 1;
  PeakJob peak{backend_.isa};
  const std::int64_t threads = pool().threads();
  for (int i = 0; i < 60; ++i) {
    best = std::min(best, time_of(0.01, [&] { pool().run(threads, PeakJob::item, &peak); }).best);
  }
  peak_ = static_cast<double>(threads) * kPeakFlops / best;
  std::printf("%s\nread bandwidth %.1f GB/s, FMA peak %.1f GFLOP/s\n", backend_.device->describe().c_str(),
              bandwidth_ * 1e-9, peak_ * 1e-9);
}

void Bench::linear(WeightFormat format) {
  if (!wanted("linear")) return;
  constexpr std::int64_t kN = 2048, kK = 2048;
  const std::int64_t bytes = packed_bytes(format, kN, kK);
  const std::int64_t copies = kRotateBytes / bytes;
  const Memory weights = filled(bytes * copies);
  for (const std::int64_t t : {1, 2, 4, 8, 32, 256}) {
    std::vector<float> x(static_cast<std::size_t>(t * kK), 0.5f), y(static_cast<std::size_t>(t * kN));
    std::int64_t turn = 0;
    const Timing time = time_of(options_.seconds, [&] {
      const std::byte* data = weights.data() + turn++ % copies * bytes;
      ops().linear(*stream_, {{data, format, kN, kK}, nullptr, {x.data(), t, kK, kK}, {y.data(), t, kN, kN}, false});
    });
    report(std::string("linear 2048x2048 ") + format_name(format) + " T=" + std::to_string(t), time,
           static_cast<double>(bytes), 2.0 * static_cast<double>(t) * kN * kK);
  }
}

// OLMoE-like layer: 64 experts of 1024 x 2048, T tokens of 8 experts each, spread evenly.
void Bench::expert_ffn(WeightFormat format) {
  if (!wanted("ffn")) return;
  constexpr std::int64_t kHidden = 2048, kInner = 1024, kTopK = 8;
  const std::int64_t matrix = packed_bytes(format, kInner, kHidden);
  const std::int64_t experts = std::min<std::int64_t>(64, 2 * kRotateBytes / (3 * matrix));
  const Memory weights = filled(matrix * 3 * experts);
  const auto at = [&](std::int64_t m, std::int64_t rows, std::int64_t cols) {
    return PackedWeight{weights.data() + m * matrix, format, rows, cols};
  };
  for (const std::int64_t t : {1, 4, 8, 32, 256}) {
    const std::int64_t total = t * kTopK;
    std::vector<float> x(static_cast<std::size_t>(t * kHidden), 0.5f), y(static_cast<std::size_t>(total * kHidden));
    std::vector<float> scratch(static_cast<std::size_t>(total * kInner));
    std::vector<std::vector<std::int32_t>> x_rows(static_cast<std::size_t>(experts)), out_rows = x_rows;
    std::int64_t turn = 0;
    std::vector<ExpertGroup> groups;
    const auto route = [&] {
      for (auto& rows : x_rows) rows.clear();
      for (auto& rows : out_rows) rows.clear();
      for (std::int64_t a = 0; a < total; ++a) {
        const std::size_t e = static_cast<std::size_t>((turn + a) % experts);
        x_rows[e].push_back(static_cast<std::int32_t>(a / kTopK));
        out_rows[e].push_back(static_cast<std::int32_t>(a));
      }
      turn += total;
      groups.clear();
      for (std::size_t e = 0; e < x_rows.size(); ++e) {
        if (x_rows[e].empty()) continue;
        const std::int64_t m = static_cast<std::int64_t>(e) * 3;
        groups.push_back({{at(m, kInner, kHidden), at(m + 1, kInner, kHidden), at(m + 2, kHidden, kInner)},
                          x_rows[e].data(),
                          out_rows[e].data(),
                          static_cast<std::int32_t>(x_rows[e].size())});
      }
    };
    const Timing time = time_of(options_.seconds, [&] {
      route();
      ops().expert_ffn(*stream_, {{x.data(), t, kHidden, kHidden},
                                  {y.data(), total, kHidden, kHidden},
                                  groups.data(),
                                  static_cast<std::int32_t>(groups.size()),
                                  Activation::kSilu,
                                  scratch.data()});
    });
    report(std::string("expert_ffn top-8 of 64, 1024x2048 ") + format_name(format) + " T=" + std::to_string(t), time,
           static_cast<double>(groups.size()) * 3.0 * static_cast<double>(matrix),
           6.0 * static_cast<double>(total) * kHidden * kInner);
  }
}

void Bench::attention(DType type) {
  if (!wanted("attention")) return;
  constexpr std::int32_t kDim = 128, kKvHeads = 4, kBlock = 16, kContext = 4096;
  for (const std::int32_t heads : {4, 32}) {
    const std::int64_t page_bytes = std::int64_t{kContext} * kKvHeads * kDim * dtype_bytes(type);
    for (const std::int32_t rows : {1, 8, 512}) {
      const std::int32_t seqs = rows == 512 ? 1 : 16;
      const Memory k = filled(page_bytes * seqs), v = filled(page_bytes * seqs);
      std::vector<std::int32_t> table(static_cast<std::size_t>(seqs) * kContext / kBlock);
      for (std::size_t i = 0; i < table.size(); ++i) table[i] = static_cast<std::int32_t>(i);
      std::vector<SeqSpan> spans;
      for (std::int32_t s = 0; s < seqs; ++s) {
        spans.push_back({s * rows, rows, kContext - rows, table.data() + s * (kContext / kBlock)});
      }
      const std::int64_t width = heads * kDim;
      std::vector<float> q(static_cast<std::size_t>(rows * seqs * width), 0.01f), out(q.size());
      AttentionArgs args;
      args.q = {q.data(), rows * seqs, width, width};
      args.out = {out.data(), rows * seqs, width, width};
      args.heads = heads;
      args.scale = 0.088f;
      args.seqs = spans.data();
      args.num_seqs = seqs;
      args.pages = {k.data(), v.data(), type, static_cast<std::int64_t>(table.size()), kBlock, kKvHeads, kDim};
      const Timing time = time_of(options_.seconds, [&] { ops().attention(*stream_, args); });
      const double keys = static_cast<double>(seqs) * rows * (kContext - rows / 2.0);
      report("attention " + std::to_string(heads) + "/4x128 " + dtype_name(type) + " 4096 keys, " +
                 std::to_string(seqs) + " x " + std::to_string(rows) + " rows",
             time, 2.0 * static_cast<double>(page_bytes * seqs), keys * heads * kDim * 4.0);
    }
  }
}

bool parse(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; i += 2) {
    const std::string flag = argv[i];
    if (i + 1 >= argc) return false;
    if (flag == "--isa") {
      options.choice.isa = argv[i + 1];
    } else if (flag == "--threads") {
      options.choice.threads = std::atoi(argv[i + 1]);
    } else if (flag == "--seconds") {
      options.seconds = std::atof(argv[i + 1]);
    } else if (flag == "--only") {
      options.only = argv[i + 1];
    } else {
      return false;
    }
  }
  return true;
}

}  // namespace
}  // namespace foregate

int main(int argc, char** argv) {
  using namespace foregate;
  Options options;
  if (!parse(argc, argv, options)) {
    std::fprintf(stderr,
                 "usage: kernel_bench [--isa NAME] [--threads N] [--seconds S] [--only linear|ffn|attention]\n");
    return 2;
  }
  std::string error;
  Backend backend = make_backend(options.choice, &error);
  if (backend.device == nullptr) {
    std::fprintf(stderr, "%s\n", error.c_str());
    return 2;
  }
  Bench bench(options, std::move(backend));
  bench.measure_machine();
  for (const WeightFormat format : {WeightFormat::kF32, WeightFormat::kBF16, WeightFormat::kQ8_0, WeightFormat::kQ4_0,
                                    WeightFormat::kQ4_K, WeightFormat::kQ6_K}) {
    bench.linear(format);
    bench.expert_ffn(format);
  }
  bench.attention(DType::kF32);
  bench.attention(DType::kBF16);
  return 0;
}
