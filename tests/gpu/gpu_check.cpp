// Every op of a CUDA module against ref, over the shared case list: on a GPU, or in emulation to test this program.
//
//   gpu_check [--module PATH] [--only OP] [--every N] [--library-rows N]
//
// --every N takes each N-th case: the reduced list of slow checkers. Prints a line per op; the last line is
// "N passed, M failed". Exit 0: all passed, 1: some failed, 2: there is no GPU to run on.
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>

#include "kernels/ref/ref_table.h"
#include "kernels/registry/gpu.h"
#include "tests/gpu/shared_new.h"
#include "tests/gpu/waiting_ops.h"
#include "tests/kernels/cases.h"

namespace foregate::testing {
namespace {

constexpr std::size_t kSharedBytes = std::size_t{4} << 30;
constexpr double kPartsTolerance = 2e-5;  // activations in two bf16 parts (kernels/cuda/prepare.h)

struct CheckOptions {
  GpuChoice gpu;
  std::string only;
  int every = 1;
};

bool parse(int argc, char** argv, CheckOptions& options) {
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string flag = argv[i];
    const char* value = argv[i + 1];
    if (flag == "--module") options.gpu.module = value;
    if (flag == "--only") options.only = value;
    if (flag == "--library-rows") options.gpu.library_rows = std::atol(value);
    if (flag == "--every") std::from_chars(value, value + std::strlen(value), options.every);
  }
  return argc % 2 == 1 && options.every >= 1;
}

std::string op_of(const OpCase& c) {
  return c.name.substr(0, c.name.find(' '));
}

// The largest difference over the largest value of its row, in units of the tolerance: at most 1 is good.
double worst_of(const OpCase& c, const Floats& got, const Floats& want) {
  const std::string op = op_of(c);
  const bool parts = op == "linear" || op == "expert_ffn" || op == "moe_ffn" || op == "attention";
  const double tolerance = parts ? std::max(c.tolerance, kPartsTolerance) : c.tolerance;
  const auto width = static_cast<std::size_t>(c.row_width);
  double worst = 0;
  for (std::size_t row = 0; row < want.size(); row += width) {
    double largest = 1e-30;
    for (std::size_t i = 0; i < width; ++i) largest = std::max<double>(largest, std::fabs(want[row + i]));
    for (std::size_t i = 0; i < width; ++i) {
      const double error = std::fabs(static_cast<double>(got[row + i]) - want[row + i]) / largest;
      if (!std::isfinite(error)) return INFINITY;
      worst = std::max(worst, error == 0 ? 0 : tolerance == 0 ? INFINITY : error / tolerance);
    }
  }
  return worst;
}

struct OpResult {
  int cases = 0;
  int failed = 0;
  double worst = 0;
};

int check(const CheckOptions& options) {
  std::string error;
  const Backend gpu = make_gpu_backend(options.gpu, &error);
  void* shared = gpu.device == nullptr ? nullptr : gpu_shared_memory(options.gpu, kSharedBytes, &error);
  if (shared == nullptr) {
    std::fprintf(stderr, "gpu_check: %s\n", error.c_str());
    return 2;
  }
  std::printf("%s, %s\n", gpu.device->describe().c_str(), gpu.reason.c_str());
  take_new_from(shared, kSharedBytes);
  const std::unique_ptr<Stream> stream = gpu.device->create_stream();
  const OpTable ops = waiting_ops(gpu.ops);
  std::map<std::string, OpResult> results;
  int number = 0, passed = 0, failed = 0;
  std::vector<OpCase> cases = op_cases();
  std::erase_if(cases, [](const OpCase& c) { return c.host_only; });
  cases.insert(cases.end(), device_cases().begin(), device_cases().end());
  for (const OpCase& c : cases) {
    if (!options.only.empty() && op_of(c) != options.only) continue;
    if (number++ % options.every != 0) continue;
    const double worst = worst_of(c, c.run(ops, *stream), c.run(ref_table(), *stream));
    OpResult& result = results[op_of(c)];
    ++result.cases;
    result.worst = std::max(result.worst, worst);
    const bool good = worst <= 1.0 && stream->failure() == nullptr;
    (good ? passed : failed) += 1;
    result.failed += good ? 0 : 1;
    if (!good) std::printf("FAILED %s: %.3g of the tolerance\n", c.name.c_str(), worst);
    if (stream->failure() != nullptr) {
      std::printf("%s\n", stream->failure());
      break;
    }
  }
  if (options.gpu.library_rows > 0) {
    const LibraryFigures library = gpu.device->library_figures();
    const std::string missing = gpu.device->library_missing();
    std::printf("cuBLASLt did %llu products, refused %llu%s\n", static_cast<unsigned long long>(library.products),
                static_cast<unsigned long long>(library.refused), missing.empty() ? "" : (": " + missing).c_str());
    if (missing.empty() && library.products == 0) ++failed;
  }
  for (const auto& [op, result] : results) {
    std::printf("%-18s %4d cases, %d failed, worst %.3f of the tolerance\n", op.c_str(), result.cases, result.failed,
                result.worst);
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 && passed > 0 ? 0 : 1;
}

}  // namespace
}  // namespace foregate::testing

int main(int argc, char** argv) {
  foregate::testing::CheckOptions options;
  if (!foregate::testing::parse(argc, argv, options)) {
    std::fputs("usage: gpu_check [--module PATH] [--only OP] [--every N] [--library-rows N]\n", stderr);
    return 2;
  }
  return foregate::testing::check(options);
}
