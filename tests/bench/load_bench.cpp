// Loading a model against the disk: seconds from opening it to weights in memory, next to the seconds of reading the
// same files with O_DIRECT into a buffer that is used again, taken in turn. A packed model is read past the page cache;
// of another one the files are dropped from it before each round.
//
//   load_bench MODEL [--quantization F] [--rounds N] [--raw-requests N] [--raw-piece BYTES] [--no-verify]
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "engine/model/model_source.h"
#include "engine/model/weight_loader.h"
#include "kernels/registry/registry.h"

namespace foregate {
namespace {

struct Options {
  std::string dir;
  int rounds = 5;
  int raw_requests = 4;
  std::size_t raw_piece = std::size_t{4} << 20;
  bool verify = true;
  WeightPlanOptions weights;
};

double seconds_of(const std::function<void()>& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

[[noreturn]] void stop(const std::string& why) {
  std::fprintf(stderr, "load_bench: %s\n", why.c_str());
  std::exit(1);
}

template <class T>
T must(Result<T> result) {
  if (!result.ok()) stop(result.status().to_string());
  return std::move(result).value();
}

// Reads a file from end to end with several requests in flight.
void read_raw(const std::string& path, const Options& options) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC);
  if (fd < 0) stop(path + ": O_DIRECT is refused");
  const off_t bytes = ::lseek(fd, 0, SEEK_END);
  std::atomic<off_t> next{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < options.raw_requests; ++t) {
    threads.emplace_back([&] {
      void* buffer = std::aligned_alloc(kDirectPage, options.raw_piece);
      const auto piece = static_cast<off_t>(options.raw_piece);
      for (off_t at = next.fetch_add(piece); at < bytes; at = next.fetch_add(piece)) {
        if (::pread(fd, buffer, options.raw_piece, at) != std::min(piece, bytes - at)) stop(path + ": short read");
      }
      std::free(buffer);
    });
  }
  for (std::thread& thread : threads) thread.join();
  ::close(fd);
}

// Drops a file from the page cache, as far as the system allows it.
void drop_cached(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) stop(path + ": cannot be opened");
  ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  ::close(fd);
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const bool more = i + 1 < argc;
    if (word == "--no-verify") {
      options.verify = false;
    } else if (word == "--quantization" && more) {
      options.weights.quantization = quantization_named(argv[++i]);
      if (!options.weights.quantization) stop("unknown quantization");
    } else if (word == "--rounds" && more) {
      options.rounds = std::atoi(argv[++i]);
    } else if (word == "--raw-requests" && more) {
      options.raw_requests = std::atoi(argv[++i]);
    } else if (word == "--raw-piece" && more) {
      options.raw_piece = std::strtoull(argv[++i], nullptr, 10);
    } else {
      options.dir = word;
    }
  }
  if (options.dir.empty())
    stop(
        "usage: load_bench MODEL [--quantization F] [--rounds N] [--raw-requests N] [--raw-piece BYTES] [--no-verify]");
  return options;
}

void run(const Options& options) {
  std::string error;
  const Backend backend = make_backend({}, &error);
  const auto stream = backend.device->create_stream();
  std::vector<std::string> paths;
  double bytes = 0.0;
  {
    const OpenModel model = must(open_model(local_files(), options.dir));
    for (std::size_t i = 0; i < model.index.shards(); ++i) {
      paths.push_back(model.index.shard(i).path());
      bytes += static_cast<double>(model.index.shard(i).size());
    }
  }
  std::vector<double> raw;
  std::vector<double> load;
  std::vector<double> ratio;
  for (int round = 0; round < options.rounds; ++round) {
    raw.push_back(seconds_of([&] {
      for (const std::string& path : paths) read_raw(path, options);
    }));
    for (const std::string& path : paths) drop_cached(path);
    std::unique_ptr<ModelWeights> weights;
    load.push_back(seconds_of([&] {
      const OpenModel model = must(open_model(local_files(), options.dir));
      weights = must(load_weights(model.config, model.index, *backend.device, backend.ops, *stream, options.weights, {},
                                  options.verify));
    }));
    ratio.push_back(load.back() / raw.back());
    std::printf("round %d: raw %.2f s (%.3f GB/s), load %.2f s (%.3f GB/s), %.3fx\n", round, raw.back(),
                bytes / raw.back() * 1e-9, load.back(), bytes / load.back() * 1e-9, ratio.back());
    if (round == 0) std::printf("%s\n", weights->how_loaded.c_str());
  }
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  std::printf("median of %d: raw %.3f GB/s, load %.3f GB/s, load over raw %.3fx; peak memory over files %.3fx\n",
              options.rounds, bytes / median(raw) * 1e-9, bytes / median(load) * 1e-9, median(ratio),
              static_cast<double>(usage.ru_maxrss) * 1024.0 / bytes);
}

}  // namespace
}  // namespace foregate

int main(int argc, char** argv) {
  foregate::run(foregate::parse(argc, argv));
  return 0;
}
