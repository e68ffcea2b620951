// Speed of the ops of a CUDA module beside what the GPU can give, as JSON: the list of tests/bench, each op called
// again and again on one stream, its weights another part of a large pool each time. Host work of an op counts where
// the device waits for it. Ceilings are measured first, in the same process, the bf16 GEMM rate among them, and dense
// products by the kernels and by cuBLASLt beside each other (gemm_bench.h).
//
//   gpu_bench [--module PATH] [--seconds S] [--match TEXT]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/registry/gpu.h"
#include "tests/bench/op_bench.h"
#include "tests/gpu/gemm_bench.h"
#include "tests/gpu/seconds_of.h"
#include "tests/gpu/shared_new.h"

namespace foregate {
namespace {

constexpr std::size_t kPoolBytes = std::size_t{1} << 30;
constexpr std::size_t kSmallPool = std::size_t{64} << 20;  // where there is less memory: the emulation
constexpr std::size_t kSharedBytes = std::size_t{8} << 30;

// A small finite value in every format.
void fill_pool(Stream& stream, const Memory& pool) {
  std::vector<std::uint32_t> piece(1 << 20);
  for (std::size_t i = 0; i < piece.size(); ++i) piece[i] = 0x3c003c00u + static_cast<std::uint32_t>(4 * i % 64);
  for (std::size_t at = 0; at < pool.bytes(); at += piece.size() * 4) {
    stream.upload(pool.data() + at, piece.data(), std::min(piece.size() * 4, pool.bytes() - at));
  }
  stream.synchronize();
}

struct BenchOptions {
  GpuChoice gpu;
  double seconds = 0.1;  // of one case
  std::string match;
};

struct Ceilings {
  double copy = 0;            // bytes read and written in a second within the device
  double to_device = 0;       // from pinned memory
  double to_device_ring = 0;  // through the ring of pinned pieces
  double to_device_busy = 0;  // from pinned memory, while another stream keeps the device's memory busy
  double to_host = 0;
};

// Uploads beside copies within the device, which take longer than they.
double busy_upload(Device& device, Stream& stream, const Memory& pool, const Memory& host, double limit) {
  constexpr int kCopies = 8;
  const std::unique_ptr<Stream> other = device.create_stream();
  const std::size_t half = pool.bytes() / 2;
  const std::size_t part = std::min(host.bytes(), half) / 2;
  const double seconds = seconds_of(stream, limit, [&] {
    for (int i = 0; i < kCopies; ++i) other->copy(pool.data() + part, pool.data() + half, half - part);
    stream.upload_pinned(pool.data(), host.data(), part);
  });
  other->synchronize();
  return static_cast<double>(part) / seconds;
}

Ceilings measure_ceilings(Device& device, Stream& stream, const Memory& pool, double limit) {
  const std::size_t half = pool.bytes() / 2;
  const std::size_t some = std::min<std::size_t>(half, std::size_t{64} << 20);
  const Memory host = device.allocate_pinned(some);
  Ceilings ceilings;
  ceilings.copy = 2 * half / seconds_of(stream, limit, [&] { stream.copy(pool.data(), pool.data() + half, half); });
  ceilings.to_device = some / seconds_of(stream, limit, [&] { stream.upload_pinned(pool.data(), host.data(), some); });
  ceilings.to_device_ring = some / seconds_of(stream, limit, [&] { stream.upload(pool.data(), host.data(), some); });
  ceilings.to_device_busy = busy_upload(device, stream, pool, host, limit);
  ceilings.to_host = some / seconds_of(stream, limit, [&] { stream.download(host.data(), pool.data(), some); });
  return ceilings;
}

void print_case(const OpBench& bench, const PreparedOp& op, double seconds, double copy, bool first) {
  std::printf(
      "%s\n    {\"op\": \"%s\", \"us\": %.2f, \"bytes\": %.0f, \"gb_per_s\": %.2f, \"of_copy\": %.4f, \"gmac_per_s\": "
      "%.1f}",
      first ? "" : ",", bench.name.c_str(), seconds * 1e6, op.bytes, op.bytes / seconds * 1e-9,
      op.bytes / seconds / copy, op.macs / seconds * 1e-9);
  std::fflush(stdout);
}

int run(const BenchOptions& options) {
  std::string error;
  const Backend gpu = make_gpu_backend(options.gpu, &error);
  void* shared = gpu.device == nullptr ? nullptr : gpu_shared_memory(options.gpu, kSharedBytes, &error);
  if (shared == nullptr) {
    std::fprintf(stderr, "gpu_bench: %s\n", error.c_str());
    return 2;
  }
  const std::unique_ptr<Stream> stream = gpu.device->create_stream();
  Memory pool = gpu.device->allocate(gpu.device->free_bytes() > std::int64_t{8} << 30 ? kPoolBytes : kSmallPool);
  if (!pool) return 2;
  fill_pool(*stream, pool);
  const Ceilings ceilings = measure_ceilings(*gpu.device, *stream, pool, options.seconds);
  fill_pool(*stream, pool);
  std::printf("{\n");
  const bool products = print_gemms(options.gpu, options.seconds, pool.bytes() < kPoolBytes);
  testing::take_new_from(shared, kSharedBytes);
  std::printf(
      "  \"device\": \"%s\",\n  \"copy_gb_per_s\": %.1f,\n  \"to_device_gb_per_s\": %.2f,\n"
      "  \"to_device_ring_gb_per_s\": %.2f,\n  \"to_device_while_computing\": %.4f,\n  \"to_host_gb_per_s\": %.2f,\n"
      "  \"ops\": [",
      gpu.device->describe().c_str(), ceilings.copy * 1e-9, ceilings.to_device * 1e-9, ceilings.to_device_ring * 1e-9,
      ceilings.to_device_busy / ceilings.to_device, ceilings.to_host * 1e-9);
  const OpMachine machine{gpu.ops, *stream, pool.data(), static_cast<std::int64_t>(pool.bytes())};
  bool first = true;
  for (const OpBench& bench : op_benches()) {
    if (bench.name.find("pack_weight") == 0 || bench.name.find(options.match) == std::string::npos) continue;
    const PreparedOp op = bench.prepare(machine);
    const double seconds = seconds_of(*stream, options.seconds, [&] {
      if (op.before) op.before();
      op.call();
    });
    print_case(bench, op, seconds, ceilings.copy, first);
    first = false;
    if (stream->failure() != nullptr) break;
  }
  std::printf("\n  ],\n  \"failure\": \"%s\"\n}\n", stream->failure() == nullptr ? "" : stream->failure());
  return stream->failure() == nullptr && products ? 0 : 1;
}

}  // namespace
}  // namespace foregate

int main(int argc, char** argv) {
  foregate::BenchOptions options;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--module") == 0) options.gpu.module = argv[i + 1];
    if (std::strcmp(argv[i], "--seconds") == 0) options.seconds = std::atof(argv[i + 1]);
    if (std::strcmp(argv[i], "--match") == 0) options.match = argv[i + 1];
  }
  return foregate::run(options);
}
