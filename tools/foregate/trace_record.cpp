// foregate trace record MODEL OUT: runs prompts through the engine, with all experts in memory or in a store, and
// writes what every MoE layer routed.
#include <algorithm>
#include <cstdio>
#include <map>
#include <sstream>

#include "engine/base/log.h"
#include "engine/experts/trace_summary.h"
#include "engine/runtime/boot.h"
#include "tools/foregate/progress.h"
#include "tools/foregate/queue_sink.h"
#include "tools/foregate/trace_commands.h"

namespace foregate {
namespace {

constexpr std::uint64_t kMaxPromptsBytes = std::uint64_t{64} << 20;

BootOptions boot_options(const RecordOptions& options, ProgressBar& bar) {
  BootOptions boot;
  boot.model = options.model;
  boot.trace_routes = options.out;
  boot.expert_memory = options.expert_memory;
  boot.expert_policy = options.expert_policy;
  boot.expert_warm = !options.cold;
  boot.lookahead = options.lookahead;
  boot.quantization = options.quantization;
  boot.threads = options.threads;
  boot.isa = options.isa;
  boot.max_num_seqs = options.parallel;
  boot.max_num_batched_tokens = options.chunk;
  boot.max_num_queued_reqs = 1 << 20;
  boot.prefix_caching = false;  // what a prompt routes should not depend on those before it
  boot.seed = static_cast<std::uint64_t>(options.seed);
  boot.progress = [&bar](std::string_view stage, double fraction) { bar.show(stage, fraction); };
  return boot;
}

Result<std::vector<std::string>> prompts_of(const RecordOptions& options) {
  if (options.prompts.empty()) return std::vector<std::string>{options.prompt};
  ASSIGN_OR_RETURN(const std::string text, read_text(local_files(), options.prompts, kMaxPromptsBytes));
  std::vector<std::string> prompts;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (!line.empty()) prompts.push_back(line);
  }
  if (prompts.empty()) return invalid_argument(options.prompts + " holds no prompt", "prompts");
  return prompts;
}

Result<Request> request_of(BootedEngine& booted, const RecordOptions& options, const std::string& prompt,
                           std::uint64_t number) {
  Request request;
  request.id = RequestId{number};
  ASSIGN_OR_RETURN(request.prompt, booted.tokenizer()->encode(prompt, {}));
  const GenerationDefaults& defaults = booted.generation_defaults();
  SamplingParams& sampling = request.sampling;
  sampling.temperature =
      options.temperature >= 0 ? static_cast<float>(options.temperature) : defaults.temperature.value_or(1.0f);
  sampling.top_k = defaults.top_k.value_or(0);
  sampling.top_p = defaults.top_p.value_or(1.0f);
  sampling.seed = static_cast<std::uint64_t>(options.seed) + number;
  sampling.ignore_eos = true;
  const auto room = booted.engine().limits().max_model_len - static_cast<std::int32_t>(request.prompt.size());
  if (room < 1) return invalid_argument("prompt " + std::to_string(number) + " fills the model's context", "prompt");
  sampling.max_tokens = std::min(options.tokens, room);
  RETURN_IF_ERROR(validate(request, booted.engine().limits()));
  return request;
}

// Every prompt once, in order of arrival; `parallel` of them run at a time.
Status run_prompts(BootedEngine& booted, const RecordOptions& options, ProgressBar& bar) {
  ASSIGN_OR_RETURN(const auto prompts, prompts_of(options));
  auto sink = std::make_shared<QueueSink>();
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    ASSIGN_OR_RETURN(Request request, request_of(booted, options, prompts[i], i + 1));
    RETURN_IF_ERROR(booted.engine().submit(std::move(request), sink));
  }
  std::size_t tokens = 0;
  const double all = static_cast<double>(prompts.size()) * options.tokens;
  for (std::size_t ended = 0; ended < prompts.size();) {
    const auto event = sink->next(std::chrono::milliseconds(1000));
    if (!event) continue;
    tokens += event->tokens.size();
    bar.show("record", static_cast<double>(tokens) / all);
    if (!event->finish) continue;
    if (*event->finish == FinishReason::kError) return event->error;
    ++ended;
  }
  return {};
}

// Reads back what was written: a disk that failed shows here.
Status report(const RecordOptions& options) {
  ASSIGN_OR_RETURN(const OpenTrace trace, open_trace(options.out));
  TraceSummarizer sums(trace.info);
  RETURN_IF_ERROR(each_step(trace, [&sums](const TraceStep& step) { sums.add(step); }));
  const TraceSummary summary = sums.summary();
  std::printf("%s: %lld steps, %llu rows of %zu requests, %.2f MB", options.out.c_str(),
              static_cast<long long>(summary.steps), static_cast<unsigned long long>(summary.rows), summary.requests,
              static_cast<double>(trace.file->size()) * 1e-6);
  if (trace.info.slots > 0) {
    std::printf("; %llu slots, policy %s, %llu hits, %llu misses", static_cast<unsigned long long>(trace.info.slots),
                trace.info.policy.c_str(), static_cast<unsigned long long>(summary.hits),
                static_cast<unsigned long long>(summary.misses));
  }
  std::printf("\n");
  return {};
}

}  // namespace

void add_record_options(CLI::App& app, RecordOptions& options) {
  app.add_option("model", options.model, "model directory or GGUF file")->required();
  app.add_option("out", options.out, "file to write")->required();
  CLI::Option* file = app.add_option("--prompts", options.prompts, "file with a prompt on each line");
  app.add_option("-p,--prompt", options.prompt, "one prompt")->excludes(file);
  app.add_option("-n,--tokens", options.tokens, "tokens to generate for each prompt")->check(CLI::Range(1, 1 << 24));
  app.add_option("--parallel", options.parallel, "prompts in one step")->check(CLI::Range(1, 4096));
  app.add_option("-b,--max-num-batched-tokens", options.chunk, "tokens in one step")->check(CLI::Range(1, 1 << 20));
  app.add_option("--expert-memory", options.expert_memory,
                 "as serve has it: all, auto, a share (40%) or a size (4GiB)");
  app.add_option("--expert-policy", options.expert_policy, "auto, score, lru or lfu")
      ->check(CLI::IsMember({"auto", "score", "lru", "lfu"}));
  app.add_flag("--no-expert-warm", options.cold, "begin with no expert in memory");
  app.add_option("--lookahead", options.lookahead, "off, shadow, auto or always; what it loads a replay cannot count")
      ->check(CLI::IsMember({"off", "shadow", "auto", "always"}));
  app.add_option("-q,--quantization", options.quantization, "pack scalar matrices in this format")
      ->check(CLI::IsMember({"none", "q8_0", "q4_0", "q4_k"}));
  app.add_option("--temperature", options.temperature, "0 takes the likeliest token")->check(CLI::Range(0.0, 100.0));
  app.add_option("-s,--seed", options.seed, "of sampling")->check(CLI::NonNegativeNumber);
  app.add_option("-t,--threads", options.threads, "compute threads; 0 chooses")->check(CLI::Range(0, 1024));
  app.add_option("--isa", options.isa, "auto | generic | avx2 | avx512 | ref");
}

Status run_record(const RecordOptions& options) {
  set_log_level(LogLevel::kWarn);
  ProgressBar bar;
  {
    ASSIGN_OR_RETURN(const auto booted, boot_engine(boot_options(options, bar)));
    RETURN_IF_ERROR(run_prompts(*booted, options, bar));
  }
  bar.clear();
  return report(options);
}

}  // namespace foregate
