// foregate bench MODEL or --shape NAME: prefill and decode tokens per second, and how near they come to what memory
// and arithmetic of this machine allow.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <memory>
#include <string>
#include <vector>

#include "engine/base/log.h"
#include "engine/model/store_loader.h"
#include "engine/model/summary.h"
#include "engine/model/transformer.h"
#include "engine/runtime/boot.h"
#include "tools/bench/bench_format.h"
#include "tools/bench/bench_options.h"
#include "tools/bench/disk_limit.h"
#include "tools/bench/model_work.h"
#include "tools/bench/process_memory.h"
#include "tools/bench/shape_model.h"
#include "tools/bench/shapes.h"
#include "tools/foregate/commands.h"
#include "tools/foregate/progress.h"

namespace foregate {
namespace {

std::string utc_now() {
  const std::time_t now = system_clock().wall_seconds();
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

Result<std::unique_ptr<BootedModel>> boot(const BenchOptions& options, int threads, ProgressBar& bar) {
  const auto show = [&bar](std::string_view stage, double fraction) { bar.show(stage, fraction); };
  if (!options.shape.empty()) {
    return boot_shape({.shape = options.shape,
                       .quantization = options.quantization,
                       .layers = options.layers,
                       .routing = options.routing,
                       .isa = options.isa,
                       .threads = threads,
                       .max_num_batched_tokens = most_rows(options),
                       .progress = show});
  }
  BootOptions boot;
  boot.model = options.model;
  boot.quantization = options.quantization;
  boot.isa = options.isa;
  boot.threads = threads;
  boot.max_num_batched_tokens = most_rows(options);
  boot.expert_memory = options.expert_memory;
  boot.expert_policy = options.expert_policy;
  boot.expert_warm = options.expert_warm;
  boot.dense_memory = options.dense_memory;
  boot.lookahead = options.lookahead;
  boot.prompt_read_ahead = options.prompt_read_ahead;
  boot.expert_sweep = options.expert_sweep;
  if (options.expert_memory == "auto") {
    ASSIGN_OR_RETURN(const ModelSummary summary, summarize(local_files(), options.model, {}));
    boot.kv_cache_bytes = most_positions(options) * summary.kv_bytes_per_position;
  }
  boot.progress = show;
  return boot_model(boot);
}

// Everything about one loaded model, and the peak of memory so far.
class ModelBench {
 public:
  ModelBench(BootedModel& booted, const BenchOptions& options, ProgressBar& bar);
  const BenchModelFacts& facts() const { return facts_; }
  Result<BenchLine> measure(const BenchTest& test);

 private:
  Status take_limits(BenchLine& line);
  Status take_disk_limit(std::int32_t repetition, BenchLine& line);
  Status take_samples(const BenchTest& test, BenchLine& line);

  BootedModel& booted_;
  const Transformer& transformer_;
  const BenchOptions& options_;
  ProgressBar& bar_;
  ModelWork work_;
  BenchModelFacts facts_;
  std::int64_t peak_rss_bytes_ = 0;
};

ModelBench::ModelBench(BootedModel& booted, const BenchOptions& options, ProgressBar& bar)
    : booted_(booted),
      transformer_(dynamic_cast<const Transformer&>(booted.model())),
      options_(options),
      bar_(bar),
      work_(model_work(transformer_.config())) {
  const WeightFormat format = main_format(transformer_);
  char type[160];
  std::snprintf(type, sizeof type, "%s %.2f B %s", transformer_.config().arch->model_type,
                static_cast<double>(booted.info().parameters) * 1e-9, format_name(format));
  const ModelShape* shape = find_shape(options.shape);
  facts_.model_filename = shape != nullptr ? std::string("shape:") + shape->name : options.model;
  facts_.model_type = type;
  const WeightBytes bytes = weight_bytes(transformer_);
  facts_.model_size = bytes.all;
  if (transformer_.store() != nullptr) {
    facts_.expert_memory = options.expert_memory;
    facts_.expert_policy = options.expert_policy;
    facts_.lookahead = options.lookahead;
    facts_.experts = booted.report().experts;
    facts_.resident_size = bytes.resident;
  }
  facts_.model_n_params = booted.info().parameters;
  facts_.isa = booted.report().isa;
  facts_.threads = booted.report().threads;
  facts_.integer_products = is_quantized(format);
  facts_.load_seconds = booted.report().load_seconds;
  facts_.huge_page_bytes = process_memory().huge_page_bytes;
  facts_.note = bench_note(shape != nullptr ? shape->note : "", facts_.model_size);
}

// The buffer that a small model's limit is measured with is not the model's: the peak begins anew after it.
Status ModelBench::take_limits(BenchLine& line) {
  LimitOptions limits;
  limits.isa = facts_.isa;
  limits.threads = facts_.threads;
  limits.read_from = weight_spans(transformer_);
  const ExpertStore* store = transformer_.store();
  if (store != nullptr) limits.read_bytes = spare_read_bytes(limits);
  peak_rss_bytes_ = std::max(peak_rss_bytes_, process_memory().peak_rss_bytes);
  line.limits = measure_limits(limits);
  if (line.limits.read_bytes_per_second <= 0.0) return resource_exhausted("no memory to measure the bandwidth with");
  if (!reads_given_memory(limits)) reset_peak_rss();
  return {};
}

// A disk may be another from second to second: its limit is the mean of what it gives before each repetition.
Status ModelBench::take_disk_limit(std::int32_t repetition, BenchLine& line) {
  const ExpertStore* store = transformer_.store();
  if (store == nullptr || store->table().extents.front().file == nullptr) return {};  // no reads of whole experts
  ASSIGN_OR_RETURN(
      const DiskLimit disk,
      measure_disk(store->table(), {.seed = options_.routing.seed + static_cast<std::uint64_t>(repetition)}));
  double& mean = line.limits.disk_bytes_per_second;
  mean += (disk.bytes_per_second - mean) / (repetition + 1);
  return {};
}

Status ModelBench::take_samples(const BenchTest& test, BenchLine& line) {
  const std::uint64_t seed = options_.routing.seed;
  ASSIGN_OR_RETURN(BenchRun run, BenchRun::create(booted_.model(), booted_.device(), test));
  RETURN_IF_ERROR(run.prepare(seed, options_.warm_up));
  RETURN_IF_ERROR(take_limits(line));
  const auto experts = booted_.model().expert_figures();
  BenchSample sum;
  for (std::int32_t i = 0; i < options_.repetitions; ++i) {
    bar_.show(test_name(test), static_cast<double>(i) / options_.repetitions);
    RETURN_IF_ERROR(take_disk_limit(i, line));
    ASSIGN_OR_RETURN(const BenchSample sample, run.repeat(seed + 1 + static_cast<std::uint64_t>(i)));
    line.samples_seconds.push_back(sample.seconds);
    sum.bytes += sample.bytes;
    sum.rows += sample.rows;
    sum.logits += sample.logits;
  }
  if (experts) line.experts = figures_between(*experts, *booted_.model().expert_figures());
  const auto rows = static_cast<double>(sum.rows);
  line.bytes_per_token = sum.bytes / rows;
  line.ops_per_token = work_.row_macs + work_.logits_macs * static_cast<double>(sum.logits) / rows;
  return {};
}

Result<BenchLine> ModelBench::measure(const BenchTest& test) {
  BenchLine line;
  line.test = test;
  line.test_time = utc_now();
  RETURN_IF_ERROR(take_samples(test, line));
  peak_rss_bytes_ = std::max(peak_rss_bytes_, process_memory().peak_rss_bytes);
  line.peak_rss_bytes = peak_rss_bytes_;
  return line;
}

void print(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

Status bench_threads(const BenchOptions& options, int threads, BenchFormat& format, ProgressBar& bar) {
  auto booted = boot(options, threads, bar);
  bar.clear();
  if (!booted.ok()) return booted.status();
  ModelBench bench(**booted, options, bar);
  print(format.begin(bench.facts()));
  for (const BenchTest& test : bench_tests(options, (*booted)->report().kv_type)) {
    const auto line = bench.measure(test);
    bar.clear();
    if (!line.ok()) return line.status();
    print(format.line(bench.facts(), line.value()));
  }
  return {};
}

}  // namespace

int bench_command(int argc, char** argv) {
  if (argc > 1 && std::string(argv[1]) == "serve") return bench_serve_command(argc - 1, argv + 1);
  BenchOptions options;
  if (const int done = parse_bench_options(argc, argv, options); done >= 0) return done;
  set_log_level(LogLevel::kWarn);
  const auto format = make_bench_format(options.format);
  ProgressBar bar;
  for (const std::int32_t threads : options.threads) {
    const Status status = bench_threads(options, threads, *format, bar);
    if (status.ok()) continue;
    std::fprintf(stderr, "foregate bench: %s\n", status.to_string().c_str());
    return 1;
  }
  print(format->end());
  return 0;
}

}  // namespace foregate
