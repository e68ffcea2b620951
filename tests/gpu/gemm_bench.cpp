#include "tests/gpu/gemm_bench.h"

#include <cstdio>
#include <string>
#include <vector>

#include "tests/gpu/seconds_of.h"

namespace foregate {
namespace {

struct Shape {
  const char* name;
  std::int64_t outputs, cols;
};

constexpr Shape kShapes[] = {{"qkv 2048 -> 5120", 5120, 2048},
                             {"output 4096 -> 2048", 2048, 4096},
                             {"gate and up 2048 -> 12288", 12288, 2048},
                             {"8192 -> 8192", 8192, 8192}};
constexpr Shape kSmallShapes[] = {{"64 -> 48", 48, 64}};
constexpr std::int64_t kRows[] = {16, 64, 128, 256, 512, 1024, 2048};
constexpr std::int64_t kSmallRows[] = {4, 16};

// A device with or without the library, and memory of small finite values on it.
struct Way {
  Backend backend;
  std::unique_ptr<Stream> stream;
  Memory weights, x, y;

  bool open(GpuChoice choice, std::int64_t library_rows, std::int64_t most_cols, std::int64_t most_outputs,
            std::int64_t most_rows) {
    std::string error;
    choice.library_rows = library_rows;
    backend = make_gpu_backend(choice, &error);
    if (backend.device == nullptr) return false;
    stream = backend.device->create_stream();
    const auto bytes = [](std::int64_t count, std::int64_t each) { return static_cast<std::size_t>(count * each); };
    weights = filled(bytes(most_cols * most_outputs, 2));
    x = filled(bytes(most_cols * most_rows, 4));
    y = filled(bytes(most_outputs * most_rows, 4));
    return weights && x && y;
  }
  Memory filled(std::size_t bytes) {
    Memory memory = backend.device->allocate(bytes);
    const std::vector<std::uint32_t> values((bytes + 3) / 4, 0x3c003c00u);  // 2^-7 in f32 and in bf16
    if (memory) stream->upload(memory.data(), values.data(), bytes);
    stream->synchronize();
    return memory;
  }
  double linear(const Shape& shape, std::int64_t rows, double seconds) {
    LinearArgs args;
    args.weight = {weights.data(), WeightFormat::kBF16, shape.outputs, shape.cols};
    args.x = {reinterpret_cast<const float*>(x.data()), rows, shape.cols, shape.cols};
    args.y = {reinterpret_cast<float*>(y.data()), rows, shape.outputs, shape.outputs};
    return seconds_of(*stream, seconds, [&] { backend.ops.linear(*stream, args); });
  }
};

void print_ceiling(const GpuChoice& gpu, Way& library, std::int64_t size, double seconds) {
  bool there = true;
  const View2<float> y{reinterpret_cast<float*>(library.y.data()), size, size, size};
  const double time = seconds_of(*library.stream, seconds, [&] {
    there = there && gpu_library_product(gpu, *library.stream, library.weights.data(), library.x.data(), y, size);
  });
  const std::string missing = library.backend.device->library_missing();
  const double flops = 2.0 * static_cast<double>(size) * static_cast<double>(size) * static_cast<double>(size);
  if (there) {
    std::printf("  \"bf16_gemm_tflops\": %.6f,\n", flops / time * 1e-12);
  } else {
    std::printf("  \"bf16_gemm_tflops\": null,\n");
  }
  std::printf("  \"gemm_library\": \"%s\",\n", there ? "cuBLASLt" : missing.empty() ? "no way" : missing.c_str());
}

template <std::size_t kShapeCount, std::size_t kRowCount>
void print_ways(Way& native, Way& library, const Shape (&shapes)[kShapeCount], const std::int64_t (&rows)[kRowCount],
                double seconds) {
  const char* separator = "";
  std::printf("  \"linear_ways\": [");
  for (const Shape& shape : shapes) {
    for (const std::int64_t count : rows) {
      const double here = native.linear(shape, count, seconds);
      const std::uint64_t before = library.backend.device->library_figures().products;
      const double there = library.linear(shape, count, seconds);
      const bool ran = library.backend.device->library_figures().products > before;
      const double flops = 2.0 * static_cast<double>(shape.outputs * shape.cols * count);
      std::printf("%s\n    {\"shape\": \"%s\", \"rows\": %lld, \"kernel_us\": %.2f, \"kernel_tflops\": %.4f, ",
                  separator, shape.name, static_cast<long long>(count), here * 1e6, flops / here * 1e-12);
      if (ran) {
        std::printf("\"library_us\": %.2f, \"library_tflops\": %.4f}", there * 1e6, flops / there * 1e-12);
      } else {
        std::printf("\"library_us\": null, \"library_tflops\": null}");
      }
      separator = ",";
    }
  }
  std::printf("\n  ],\n");
}

}  // namespace

bool print_gemms(const GpuChoice& gpu, double seconds, bool small) {
  const std::int64_t size = small ? 64 : 8192;
  const std::int64_t most_rows = size;
  Way native, library;
  if (!native.open(gpu, 0, size, small ? size : 12288, most_rows)) return false;
  if (!library.open(gpu, 1, size, small ? size : 12288, most_rows)) return false;
  print_ceiling(gpu, library, size, seconds);
  if (small) {
    print_ways(native, library, kSmallShapes, kSmallRows, seconds);
  } else {
    print_ways(native, library, kShapes, kRows, seconds);
  }
  return native.stream->failure() == nullptr && library.stream->failure() == nullptr;
}

}  // namespace foregate
