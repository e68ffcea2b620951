// What a route known ahead saves: decode of a model whose routers read earlier than their layer, with part of its
// experts in memory, with the announcements (lookahead auto) and without (off) in turn. The link is the disk, or one of
// a given speed made of the model's bytes in memory and sleep, which takes no processor time from the model.
//
//   certain_stall PACKED_DIR [--share 0.5] [--gbps 0.5,1,2] [--tokens N] [--rounds N] [--streams N] [--threads N]
//
// The bound: the loads of the run without announcements, one after another, but for the time in which the model
// computed; and what no router can announce, the first layer of a model that reads the layer before.
#include <sys/prctl.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "engine/kv/kv_cache.h"
#include "engine/model/routing.h"
#include "engine/model/transformer.h"
#include "kernels/registry/registry.h"

namespace foregate {
namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  std::string dir;
  double share = 0.5;
  std::vector<double> gbps = {0};  // 0: the disk
  int tokens = 192;
  int rounds = 7;
  int streams = 1;
  int threads = 1;
};

[[noreturn]] void stop(const std::string& why) {
  std::fprintf(stderr, "certain_stall: %s\n", why.c_str());
  std::exit(1);
}

template <class T>
T must(Result<T> result) {
  if (!result.ok()) stop(result.status().to_string());
  return std::move(result).value();
}

// A link that moves one read after another: it sleeps until a read's bytes have passed, and gives them then.
class LinkQueue final : public ReadQueue {
 public:
  explicit LinkQueue(double bytes_per_second) : bytes_per_second_(bytes_per_second) {}
  std::string_view name() const override { return "link"; }
  std::size_t depth() const override { return kExpertReadDepth; }
  std::size_t in_flight() const override {
    std::lock_guard lock(mutex_);
    return reads_.size();
  }
  void submit(std::span<const ReadOp> ops) override {
    std::lock_guard lock(mutex_);
    for (const ReadOp& op : ops) {
      const std::chrono::duration<double> takes(static_cast<double>(op.out.size()) / bytes_per_second_);
      free_ = std::max(free_, Clock::now()) + std::chrono::duration_cast<Clock::duration>(takes);
      reads_.push_back({op, free_});
    }
  }
  void wait(std::vector<ReadEnd>& ends, std::chrono::microseconds limit) override {
    thread_local const int refused = ::prctl(PR_SET_TIMERSLACK, 1);  // else sleep ends 50 us late
    if (refused != 0) stop("no precise sleep");
    const std::optional<Read> first = front();
    if (!first) return;
    std::this_thread::sleep_until(std::min(first->end, Clock::now() + limit));
    for (auto read = front(); read && read->end <= Clock::now(); read = front()) {
      ends.push_back({read->op.tag, read->op.file->read(read->op.offset, read->op.out)});
      std::lock_guard lock(mutex_);
      reads_.pop_front();
    }
  }

 private:
  struct Read {
    ReadOp op;
    Clock::time_point end;
  };
  std::optional<Read> front() const {
    std::lock_guard lock(mutex_);
    return reads_.empty() ? std::nullopt : std::optional(reads_.front());
  }
  double bytes_per_second_;
  mutable std::mutex mutex_;
  Clock::time_point free_;
  std::deque<Read> reads_;
};

// A local file held in memory.
class HeldFile final : public File {
 public:
  explicit HeldFile(const File& file) : path_(file.path()), bytes_(file.size()) {
    if (const Status status = file.read(0, bytes_); !status.ok()) stop(status.to_string());
  }
  std::uint64_t size() const override { return bytes_.size(); }
  const std::string& path() const override { return path_; }
  Status read(std::uint64_t offset, std::span<std::byte> out) const override {
    if (offset > bytes_.size() || out.size() > bytes_.size() - offset) return data_loss(path_ + ": ends before");
    std::memcpy(out.data(), bytes_.data() + offset, out.size());
    return {};
  }

 private:
  std::string path_;
  std::vector<std::byte> bytes_;
};

class HeldFiles final : public FileSystem {
 public:
  Result<std::unique_ptr<File>> open(const std::string& path) const override {
    ASSIGN_OR_RETURN(const auto file, local_files().open(path));
    return std::unique_ptr<File>(new HeldFile(*file));
  }
  bool exists(const std::string& path) const override { return local_files().exists(path); }
  Result<std::vector<std::string>> list(const std::string& dir) const override { return local_files().list(dir); }
};

struct Run {
  double seconds = 0, stall = 0, reading = 0, bytes = 0;
  std::uint64_t hints = 0, useful = 0, announced = 0, right = 0;
  std::vector<Token> text;
};

class Machine {
 public:
  Machine(const Options& options, double gbps, LookaheadMode mode) : streams_(options.streams) {
    const HeldFiles held;
    const FileSystem& files = gbps > 0 ? static_cast<const FileSystem&>(held) : local_files();
    std::string error;
    backend_ = make_backend({.isa = "auto", .threads = options.threads}, &error);
    stream_ = backend_.device->create_stream();
    OpenModel opened = must(open_model(files, options.dir));
    if (opened.index.packed() == nullptr) stop(options.dir + " is not packed");
    std::uint64_t bytes = 0;
    for (const PackedUnit& unit : opened.index.packed()->index().units) {
      bytes += unit.kind == PackedKind::kExpert ? unit.bytes : 0;
    }
    LoadOptions load{.max_batched_tokens = 32, .verify_weights = false, .lookahead = {.mode = mode}};
    load.experts.emplace();
    load.experts->warm = false;
    if (gbps > 0) load.experts->queue = [gbps] { return std::make_unique<LinkQueue>(gbps * 1e9); };
    load.experts->store.budget_bytes = static_cast<std::uint64_t>(static_cast<double>(bytes) * options.share);
    model_ = must(load_transformer(opened, *backend_.device, backend_.ops, *stream_, load));
    blocks_ = options.tokens / kBlock + 1;
    cache_ = must(KvCache::create(*backend_.device, model_->kv_layout(DType::kF32, kBlock), blocks_ * streams_));
  }

  // Greedy text of every stream from its own first token.
  Run decode(int tokens, int round) {
    const ExpertFigures before = *model_->expert_figures();
    Run run;
    std::vector<Token> next;
    for (int s = 0; s < streams_; ++s) next.push_back((300 + round * 37 + s * 101) % model_->vocab_size());
    const auto start = Clock::now();
    for (int position = 0; position < tokens; ++position) step(next, position, run);
    run.seconds = std::chrono::duration<double>(Clock::now() - start).count();
    const ExpertFigures after = *model_->expert_figures();
    run.stall = after.stall_seconds - before.stall_seconds;
    run.reading = after.read_seconds - before.read_seconds;
    run.bytes = static_cast<double>(after.loaded_bytes - before.loaded_bytes);
    run.hints = after.certain_hints - before.certain_hints;
    run.useful = after.certain_useful - before.certain_useful;
    run.announced = after.certain - before.certain;
    run.right = after.certain_right - before.certain_right;
    return run;
  }
  const ModelConfig& config() const { return model_->config(); }

 private:
  static constexpr std::int32_t kBlock = 16;

  void step(std::vector<Token>& next, std::int32_t position, Run& run) {
    const std::int32_t vocab = model_->vocab_size();
    std::vector<std::int32_t> positions(next.size(), position), wanted, tables;
    std::vector<std::int64_t> slots;
    std::vector<SeqSpan> seqs;
    for (std::int32_t i = 0; i < blocks_ * streams_; ++i) tables.push_back(i);
    for (std::int32_t s = 0; s < streams_; ++s) {
      slots.push_back(static_cast<std::int64_t>(s) * blocks_ * kBlock + position);
      wanted.push_back(s);
      seqs.push_back(
          {.first_row = s, .rows = 1, .first_position = position, .block_table = tables.data() + s * blocks_});
    }
    std::vector<float> logits(next.size() * static_cast<std::size_t>(vocab));
    const Status status = model_->forward(
        {.tokens = next, .positions = positions, .slot_mapping = slots, .seqs = seqs, .logit_rows = wanted}, *cache_,
        {logits.data(), streams_, vocab, vocab});
    if (!status.ok()) stop(status.to_string());
    for (std::size_t s = 0; s < next.size(); ++s) {
      const auto row = logits.begin() + static_cast<std::ptrdiff_t>(s) * vocab;
      next[s] = static_cast<Token>(std::max_element(row, row + vocab) - row);
      run.text.push_back(next[s]);
    }
  }

  std::int32_t streams_;
  std::int32_t blocks_ = 0;
  Backend backend_;
  std::unique_ptr<Stream> stream_;
  std::unique_ptr<Transformer> model_;
  std::optional<KvCache> cache_;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Stall that loads behind the link cannot avoid, by the run that demanded them.
double bound(const ModelConfig& config, const Run& demand) {
  const double computing = demand.seconds - demand.stall;
  const bool first_demands = router_source(config, LayerId{0}) == RouterSource::kFfnInput && config.layers[0].sparse;
  const double first = first_demands ? demand.stall / static_cast<double>(config.layers.size()) : 0.0;
  return std::max({0.0, demand.reading - computing, first});
}

void compare(const Options& options, double gbps) {
  Machine off(options, gbps, LookaheadMode::kOff);
  Machine on(options, gbps, LookaheadMode::kAuto);
  std::vector<double> ratios, bounds, off_stall, on_stall, off_rate, on_rate;
  bool same = true;
  Run with, without;
  for (int round = -1; round < options.rounds; ++round) {  // the first fills the slots
    without = off.decode(options.tokens, round + 1);
    with = on.decode(options.tokens, round + 1);
    same = same && with.text == without.text && with.right == with.announced && with.hints > 0;
    if (round < 0) continue;
    const double tokens = options.tokens * options.streams;
    ratios.push_back(with.stall / without.stall);
    bounds.push_back(bound(off.config(), without) / without.stall);
    off_stall.push_back(without.stall / tokens * 1e3);
    on_stall.push_back(with.stall / tokens * 1e3);
    off_rate.push_back(tokens / without.seconds);
    on_rate.push_back(tokens / with.seconds);
  }
  if (!same) stop("the texts differ, or an announcement was wrong");
  const double each = 1e-6 / (options.tokens * options.streams);
  std::printf("%5.2f GB/s (%4.2f while reading): stall ms/token %6.3f -> %6.3f, ratio %5.3f, bound %5.3f; ", gbps,
              without.bytes / without.reading * 1e-9, median(off_stall), median(on_stall), median(ratios),
              median(bounds));
  std::printf("tokens/s %6.1f -> %6.1f; MB/token %5.3f -> %5.3f; in time %2.0f %%\n", median(off_rate), median(on_rate),
              without.bytes * each, with.bytes * each,
              100.0 * static_cast<double>(with.useful) / static_cast<double>(with.hints));
  std::fflush(stdout);
}

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const auto value = [&]() -> std::string { return i + 1 < argc ? argv[++i] : ""; };
    if (word == "--share") {
      options.share = std::atof(value().c_str());
    } else if (word == "--gbps") {
      options.gbps.clear();
      std::stringstream list(value());
      for (std::string part; std::getline(list, part, ',');) options.gbps.push_back(std::atof(part.c_str()));
    } else if (word == "--tokens") {
      options.tokens = std::atoi(value().c_str());
    } else if (word == "--rounds") {
      options.rounds = std::atoi(value().c_str());
    } else if (word == "--streams") {
      options.streams = std::atoi(value().c_str());
    } else if (word == "--threads") {
      options.threads = std::atoi(value().c_str());
    } else {
      options.dir = word;
    }
  }
  if (options.dir.empty() || options.tokens < 1 || options.rounds < 1 || options.streams < 1)
    stop("see the file's head");
  return options;
}

int run(int argc, char** argv) {
  const Options options = parse(argc, argv);
  for (const double gbps : options.gbps) compare(options, gbps);
  return 0;
}

}  // namespace
}  // namespace foregate

int main(int argc, char** argv) {
  return foregate::run(argc, argv);
}
