#include "tools/bench/bench_options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <map>

namespace foregate {
namespace {

constexpr std::int32_t kMostTokens = 1 << 20;
constexpr std::int32_t kMostBatch = 1024;
constexpr std::int32_t kMostRows = 1 << 16;

// llama-bench has short options of several letters, which CLI11 has not.
const std::map<std::string, std::string, std::less<>> kLongNames = {{"-ub", "--ubatch-size"},
                                                                    {"-ctk", "--cache-type-k"}};

void add_model_options(CLI::App& app, BenchOptions& options) {
  app.add_option("-m,--model,model", options.model, "model directory or GGUF file");
  CLI::Option* shape = add_shape_options(app, "random weights of this shape, made in memory: no model needed", options);
  app.add_option("-s,--seed", options.routing.seed, "of tokens and of a shape's weights");
  app.add_option("-q,--quantization", options.quantization,
                 "a model: pack scalar matrices in this format (none, q8_0, q4_0, q4_k). A shape: the type of its "
                 "weights; none is bf16; also q4_k_m, f32, f16, q4_1, q5_0, q5_k, q6_k, mxfp4");
  auto* memory = app.add_option("--expert-memory", options.expert_memory,
                                "memory for experts, the others stay on disk: all, auto, a share "
                                "(50%) or a size (2GiB)")
                     ->excludes(shape);
  app.add_option("--expert-policy", options.expert_policy, "which experts stay in memory")
      ->check(CLI::IsMember({"auto", "score", "lru", "lfu"}))
      ->needs(memory);
  app.add_option("--lookahead", options.lookahead, "whether experts are loaded ahead of their layer")
      ->check(CLI::IsMember({"off", "shadow", "auto", "always"}))
      ->needs(memory);
  app.add_option(
         "--dense-memory", options.dense_memory,
         "memory for the dense weights of layers, the others pass through it: all, a share (50%) or a size (2GiB)")
      ->excludes(shape);
  app.add_flag("--prompt-read-ahead,!--no-prompt-read-ahead", options.prompt_read_ahead,
               "while a layer of a prompt runs, read experts of the next one")
      ->needs(memory);
  app.add_flag("--expert-sweep,!--no-expert-sweep", options.expert_sweep,
               "read the experts of decode steps that use more than memory holds in order, a layer ahead")
      ->needs(memory);
  app.add_flag("--expert-warm", options.expert_warm,
               "begin with the experts used most in earlier runs, as `foregate serve` does, and remember this run")
      ->needs(memory);
  app.add_option("--isa", options.isa, "auto | generic | avx2 | avxvnni | avx512 | ref");
}

void add_test_options(CLI::App& app, BenchOptions& options) {
  const auto list = [&app](const char* names, std::vector<std::int32_t>& values, const char* help, std::int32_t least,
                           std::int32_t most) {
    app.add_option(names, values, help)->delimiter(',')->allow_extra_args(false)->check(CLI::Range(least, most));
  };
  list("-p,--n-prompt,--prompt", options.prompts, "prompt tokens of each sequence: one test each; 0: none", 0,
       kMostTokens);
  list("-n,--n-gen,--generate", options.generated, "generated tokens of each sequence: one test each; 0: none", 0,
       kMostTokens);
  list("-d,--n-depth", options.depths, "tokens of context before the test", 0, kMostTokens);
  list("-b,--batch", options.batches, "sequences that decode together", 1, kMostBatch);
  list("-t,--threads", options.threads, "compute threads; 0 chooses", 0, 1024);
  list("--ubatch-size,--max-num-batched-tokens", options.chunks, "rows of one prefill step; also -ub", 1, kMostRows);
  app.add_option("--kv-cache-dtype,--cache-type-k", options.kv_types,
                 "type of cached keys and values; auto is what `foregate serve` takes; also -ctk")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::IsMember({"auto", "f32", "f16", "bf16", "int8"}));
  app.add_option("-r,--repetitions", options.repetitions, "timed repetitions")->check(CLI::Range(1, 1000));
  app.add_flag("!--no-warmup", options.warm_up, "time the first tokens of a test too");
  app.add_option("-o,--output", options.format, "md | json | jsonl | csv")
      ->check(CLI::IsMember({"md", "json", "jsonl", "csv"}));
}

int wrong(const char* message) {
  std::fprintf(stderr, "foregate bench: %s\n", message);
  return 2;
}

DType kv_type_named(const std::string& word, DType auto_type) {
  if (word == "f32") return DType::kF32;
  if (word == "f16") return DType::kF16;
  if (word == "int8") return DType::kI8;
  return word == "bf16" ? DType::kBF16 : auto_type;
}

}  // namespace

int parse_bench_options(int argc, const char* const* argv, BenchOptions& options) {
  CLI::App app("Tokens per second of a model on this machine, beside what the machine allows. Lists take commas.",
               "foregate bench");
  add_model_options(app, options);
  add_test_options(app, options);
  std::vector<std::string> words;  // CLI11 takes them last first
  for (int i = argc - 1; i > 0; --i) {
    const auto known = kLongNames.find(std::string_view(argv[i]));
    words.push_back(known == kLongNames.end() ? argv[i] : known->second);
  }
  try {
    app.parse(words);
  } catch (const CLI::ParseError& error) {
    const int shown = app.exit(error);
    return shown == 0 ? 0 : 2;
  }
  if (options.model.empty() == options.shape.empty()) return wrong("give a model, or a shape with --shape");
  if (bench_tests(options, DType::kF32).empty()) return wrong("-p and -n are 0: there is nothing to measure");
  return -1;
}

std::vector<BenchTest> bench_tests(const BenchOptions& options, DType auto_kv_type) {
  std::vector<BenchTest> tests;
  const auto add = [&](std::int32_t prompt, std::int32_t generated, BenchTest test) {
    if (prompt + generated == 0) return;
    test.prompt_tokens = prompt;
    test.generated_tokens = generated;
    tests.push_back(test);
  };
  for (const std::string& kv_type : options.kv_types) {
    for (const std::int32_t chunk : options.chunks) {
      for (const std::int32_t depth : options.depths) {
        for (const std::int32_t batch : options.batches) {
          const BenchTest test{0, 0, batch, depth, chunk, kv_type_named(kv_type, auto_kv_type)};
          for (const std::int32_t prompt : options.prompts) add(prompt, 0, test);
          for (const std::int32_t generated : options.generated) add(0, generated, test);
        }
      }
    }
  }
  return tests;
}

std::int64_t most_positions(const BenchOptions& options) {
  const auto most = [](const std::vector<std::int32_t>& values) {
    return std::int64_t{*std::max_element(values.begin(), values.end())};
  };
  const std::int64_t tokens = std::max(most(options.prompts), most(options.generated));
  return (most(options.depths) + tokens) * most(options.batches);
}

std::int32_t most_rows(const BenchOptions& options) {
  return std::max(*std::max_element(options.chunks.begin(), options.chunks.end()),
                  *std::max_element(options.batches.begin(), options.batches.end()));
}

}  // namespace foregate
