// foregate bench MODEL: prefill and decode tokens per second, and how near they come to what the
// memory allows.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/base/log.h"
#include "engine/runtime/boot.h"
#include "tools/bench/machine_limits.h"
#include "tools/foregate/bench_run.h"
#include "tools/foregate/commands.h"
#include "tools/foregate/progress.h"

namespace foregate {
namespace {

struct BenchOptions {
  BootOptions boot;
  std::vector<std::int32_t> batches = {1, 4, 16};
  std::int32_t prompt_tokens = 512;
  std::int32_t generated_tokens = 128;
  std::int32_t repetitions = 5;
  std::string format = "md";
};

// One line of the table: `tokens` per repetition, medians over the repetitions.
struct BenchLine {
  std::string test;
  std::int32_t batch = 1;
  double tokens_per_second = 0.0;
  double slowest = 0.0;
  double fastest = 0.0;
  double bytes_per_token = 0.0;
  double limit_tokens_per_second = 0.0;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

BenchLine make_line(const std::string& test, std::int32_t batch, double tokens, const std::vector<double>& seconds,
                    double bytes, double bandwidth) {
  BenchLine line;
  line.test = test;
  line.batch = batch;
  line.tokens_per_second = tokens / median(seconds);
  line.slowest = tokens / *std::max_element(seconds.begin(), seconds.end());
  line.fastest = tokens / *std::min_element(seconds.begin(), seconds.end());
  line.bytes_per_token = bytes / tokens;
  line.limit_tokens_per_second = bandwidth / line.bytes_per_token;
  return line;
}

Status bench_batch(BootedModel& booted, const BenchOptions& options, std::int32_t batch, double bandwidth,
                   ProgressBar& bar, std::vector<BenchLine>& lines) {
  const BenchShape shape{batch, options.prompt_tokens, options.generated_tokens, options.boot.max_num_batched_tokens};
  ASSIGN_OR_RETURN(BenchRun run, BenchRun::create(booted.model(), booted.device(), shape));
  std::vector<double> prefill_seconds;
  std::vector<double> decode_seconds;
  BenchSample last;
  for (std::int32_t i = -1; i < options.repetitions; ++i) {  // the first one warms up
    ASSIGN_OR_RETURN(last, run.repeat(static_cast<std::uint64_t>(i + 1)));
    bar.show("batch " + std::to_string(batch), (i + 2.0) / (options.repetitions + 1.0));
    if (i < 0) continue;
    prefill_seconds.push_back(last.prefill_seconds);
    decode_seconds.push_back(last.decode_seconds);
  }
  const double prompt = static_cast<double>(batch) * options.prompt_tokens;
  const double generated = static_cast<double>(batch) * options.generated_tokens;
  lines.push_back(make_line("pp" + std::to_string(options.prompt_tokens), batch, prompt, prefill_seconds,
                            last.prefill_bytes, bandwidth));
  lines.push_back(make_line("tg" + std::to_string(options.generated_tokens), batch, generated, decode_seconds,
                            last.decode_bytes, bandwidth));
  return {};
}

double percent_of_limit(const BenchLine& line) {
  return 100.0 * line.tokens_per_second / line.limit_tokens_per_second;
}

void print_markdown(const BootedModel& booted, const BenchOptions& options, double bandwidth,
                    const std::vector<BenchLine>& lines) {
  std::printf("%s, %s, %d threads, %d repetitions, memory read %.1f GB/s\n\n", options.boot.model.c_str(),
              booted.report().isa.c_str(), booted.report().threads, options.repetitions, bandwidth * 1e-9);
  std::printf("| test | batch | tokens/s | min - max | MB read per token | memory limit tokens/s | of the limit |\n");
  std::printf("|---|---|---|---|---|---|---|\n");
  for (const BenchLine& line : lines) {
    std::printf("| %s | %d | %.1f | %.1f - %.1f | %.3f | %.1f | %.0f %% |\n", line.test.c_str(), line.batch,
                line.tokens_per_second, line.slowest, line.fastest, line.bytes_per_token * 1e-6,
                line.limit_tokens_per_second, percent_of_limit(line));
  }
}

void print_json(const BootedModel& booted, const BenchOptions& options, double bandwidth,
                const std::vector<BenchLine>& lines) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const BenchLine& line : lines) {
    rows.push_back({{"test", line.test},
                    {"batch", line.batch},
                    {"tokens_per_second", line.tokens_per_second},
                    {"min", line.slowest},
                    {"max", line.fastest},
                    {"bytes_per_token", line.bytes_per_token},
                    {"percent_of_memory_limit", percent_of_limit(line)}});
  }
  const nlohmann::ordered_json report = {{"model", options.boot.model},
                                         {"isa", booted.report().isa},
                                         {"threads", booted.report().threads},
                                         {"repetitions", options.repetitions},
                                         {"memory_read_bytes_per_second", bandwidth},
                                         {"results", rows}};
  std::printf("%s\n", report.dump(2).c_str());
}

void print_csv(const std::vector<BenchLine>& lines) {
  std::printf("test,batch,tokens_per_second,min,max,bytes_per_token,percent_of_memory_limit\n");
  for (const BenchLine& line : lines) {
    std::printf("%s,%d,%.3f,%.3f,%.3f,%.0f,%.1f\n", line.test.c_str(), line.batch, line.tokens_per_second, line.slowest,
                line.fastest, line.bytes_per_token, percent_of_limit(line));
  }
}

// The exit status of a wrong or help-only command line, or -1 to go on.
int parse_options(int argc, char** argv, BenchOptions& options) {
  CLI::App app("Tokens per second of a model on this machine", "foregate bench");
  app.add_option("model", options.boot.model, "model directory or GGUF file")->required();
  app.add_option("-p,--prompt", options.prompt_tokens, "prompt tokens of each sequence")->check(CLI::Range(1, 1 << 20));
  app.add_option("-n,--generate", options.generated_tokens, "generated tokens of each sequence")
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("--batch", options.batches, "batch sizes")->delimiter(',')->check(CLI::Range(1, 1024));
  app.add_option("-r,--repetitions", options.repetitions, "timed repetitions; the median is shown")
      ->check(CLI::Range(1, 1000));
  app.add_option("-b,--max-num-batched-tokens", options.boot.max_num_batched_tokens, "rows of one prefill step")
      ->check(CLI::Range(1, 1 << 16));
  app.add_option("-q,--quantization", options.boot.quantization, "pack scalar matrices in this format")
      ->check(CLI::IsMember({"none", "q8_0", "q4_0", "q4_k"}));
  app.add_option("-t,--threads", options.boot.threads, "compute threads; 0 chooses")->check(CLI::Range(0, 1024));
  app.add_option("--isa", options.boot.isa, "auto | generic | avx2 | avx512 | ref");
  app.add_option("-o,--output", options.format, "md | json | csv")->check(CLI::IsMember({"md", "json", "csv"}));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int shown = app.exit(error);
    return shown == 0 ? 0 : 2;
  }
  return -1;
}

int fail(const Status& status) {
  std::fprintf(stderr, "foregate bench: %s\n", status.to_string().c_str());
  return 1;
}

}  // namespace

int bench_command(int argc, char** argv) {
  BenchOptions options;
  if (const int done = parse_options(argc, argv, options); done >= 0) return done;
  set_log_level(LogLevel::kWarn);
  ProgressBar bar;
  options.boot.progress = [&bar](std::string_view stage, double fraction) { bar.show(stage, fraction); };
  auto booted = boot_model(options.boot);
  bar.clear();
  if (!booted.ok()) return fail(booted.status());
  LimitOptions limit_options;
  limit_options.threads = booted.value()->report().threads;
  const double bandwidth = measure_limits(limit_options).read_bytes_per_second;
  if (bandwidth <= 0.0) return fail(resource_exhausted("no memory to measure the bandwidth with"));
  std::vector<BenchLine> lines;
  for (const std::int32_t batch : options.batches) {
    const Status status = bench_batch(*booted.value(), options, batch, bandwidth, bar, lines);
    bar.clear();
    if (!status.ok()) return fail(status);
  }
  if (options.format == "json") print_json(*booted.value(), options, bandwidth, lines);
  if (options.format == "csv") print_csv(lines);
  if (options.format == "md") print_markdown(*booted.value(), options, bandwidth, lines);
  return 0;
}

}  // namespace foregate
