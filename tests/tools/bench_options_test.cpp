// The command line of `foregate bench`: lists, llama-bench's short names, and what is refused.
#include "tools/bench/bench_options.h"

#include <gtest/gtest.h>

namespace foregate {
namespace {

int parse(std::vector<const char*> words, BenchOptions& options) {
  words.insert(words.begin(), "bench");
  return parse_bench_options(static_cast<int>(words.size()), words.data(), options);
}

std::vector<std::string> names_of(const BenchOptions& options) {
  std::vector<std::string> names;
  for (const BenchTest& test : bench_tests(options, DType::kF32)) {
    names.push_back(std::to_string(test.batch) + "/" + std::to_string(test.depth) + "/" +
                    std::to_string(test.prompt_tokens) + "+" + std::to_string(test.generated_tokens));
  }
  return names;
}

TEST(BenchOptions, DefaultsAreThoseOfLlamaBench) {
  BenchOptions options;
  EXPECT_EQ(parse({"model.gguf"}, options), -1);
  EXPECT_EQ(options.model, "model.gguf");
  EXPECT_EQ(options.repetitions, 5);
  EXPECT_TRUE(options.warm_up);
  EXPECT_EQ(options.format, "md");
  EXPECT_EQ(names_of(options), (std::vector<std::string>{"1/0/512+0", "1/0/0+128"}));
  EXPECT_EQ(bench_tests(options, DType::kF32)[0].chunk_tokens, 512);
}

TEST(BenchOptions, ListsTakeCommasAndEveryCombinationIsATest) {
  BenchOptions options;
  EXPECT_EQ(parse({"-m",  "x",   "-p",     "8,16", "-n",       "4",  "-b", "1,2", "-d",    "0,32",       "-t",
                   "1,2", "-ub", "64,128", "-ctk", "f16,bf16", "-r", "2",  "-o",  "jsonl", "--no-warmup"},
                  options),
            -1);
  EXPECT_EQ(options.threads, (std::vector<std::int32_t>{1, 2}));
  EXPECT_FALSE(options.warm_up);
  const auto tests = bench_tests(options, DType::kF32);
  ASSERT_EQ(tests.size(), 3u * 2 * 2 * 2 * 2);
  EXPECT_EQ(tests[0].kv_type, DType::kF16);
  EXPECT_EQ(tests[0].chunk_tokens, 64);
  EXPECT_EQ(tests.back().kv_type, DType::kBF16);
  EXPECT_EQ(tests.back().chunk_tokens, 128);
  EXPECT_EQ(most_rows(options), 128);
  options.kv_types = {"f32"};
  options.chunks = {64};
  EXPECT_EQ(names_of(options),
            (std::vector<std::string>{"1/0/8+0", "1/0/16+0", "1/0/0+4", "2/0/8+0", "2/0/16+0", "2/0/0+4", "1/32/8+0",
                                      "1/32/16+0", "1/32/0+4", "2/32/8+0", "2/32/16+0", "2/32/0+4"}));
}

TEST(BenchOptions, AModelMayStandBehindAList) {
  BenchOptions options;
  EXPECT_EQ(parse({"-p", "8,9", "-ctk", "f16", "-b", "2", "x"}, options), -1);
  EXPECT_EQ(options.model, "x");
  EXPECT_EQ(options.prompts, (std::vector<std::int32_t>{8, 9}));
}

TEST(BenchOptions, TheCacheTypeIsTheModelsUnlessNamed) {
  BenchOptions options;
  EXPECT_EQ(parse({"x", "-n", "0", "-ctk", "auto,f32"}, options), -1);
  const auto tests = bench_tests(options, DType::kF16);
  EXPECT_EQ(tests[0].kv_type, DType::kF16);
  EXPECT_EQ(tests[1].kv_type, DType::kF32);
  EXPECT_EQ(bench_tests({}, DType::kBF16)[0].kv_type, DType::kBF16);
}

TEST(BenchOptions, ExpertsMayStayOnDisk) {
  BenchOptions options;
  EXPECT_EQ(parse({"x"}, options), -1);
  EXPECT_EQ(options.expert_memory, "all");
  EXPECT_EQ(options.expert_policy, "auto");
  EXPECT_EQ(parse({"x", "--expert-memory", "2GiB", "--expert-policy", "lru", "--lookahead", "off"}, options), -1);
  EXPECT_EQ(options.lookahead, "off");
  EXPECT_EQ(options.expert_memory, "2GiB");
  EXPECT_EQ(options.expert_policy, "lru");
  BenchOptions other;
  EXPECT_EQ(parse({"x", "--expert-memory", "50%", "--expert-policy", "belady"}, other), 2);
  EXPECT_EQ(parse({"x", "--expert-policy", "lru"}, other), 2);
  EXPECT_EQ(parse({"x", "--lookahead", "off"}, other), 2);
  EXPECT_EQ(parse({"x", "--expert-memory", "50%", "--lookahead", "sometimes"}, other), 2);
  EXPECT_EQ(parse({"--shape", "tiny", "--expert-memory", "50%"}, other), 2);
}

TEST(BenchOptions, TheCacheHasRoomForTheLongestTest) {
  BenchOptions options;
  EXPECT_EQ(parse({"x", "-p", "8,64", "-n", "100", "-d", "0,1000", "-b", "1,3"}, options), -1);
  EXPECT_EQ(most_positions(options), 3 * 1100);
}

TEST(BenchOptions, NoughtLeavesATestOut) {
  BenchOptions options;
  EXPECT_EQ(parse({"-m", "x", "-p", "0", "-n", "4"}, options), -1);
  EXPECT_EQ(names_of(options), (std::vector<std::string>{"1/0/0+4"}));
  BenchOptions none;
  EXPECT_EQ(parse({"-m", "x", "-p", "0", "-n", "0"}, none), 2);
}

TEST(BenchOptions, AStepHasRoomForTheLargestBatch) {
  BenchOptions options;
  EXPECT_EQ(parse({"-m", "x", "-b", "4,100", "-ub", "16"}, options), -1);
  EXPECT_EQ(most_rows(options), 100);
}

TEST(BenchOptions, AShapeTakesLayersSkewAffinityAndSeed) {
  BenchOptions options;
  EXPECT_EQ(parse({"--shape", "tiny", "--layers", "2", "--quantization", "q4_k_m", "--skew", "1.5", "--affinity", "0.5",
                   "--seed", "7"},
                  options),
            -1);
  EXPECT_EQ(options.shape, "tiny");
  EXPECT_EQ(options.layers, 2);
  EXPECT_EQ(options.quantization, "q4_k_m");
  EXPECT_EQ(options.routing.skew, 1.5);
  EXPECT_EQ(options.routing.affinity, 0.5);
  EXPECT_EQ(options.routing.seed, 7u);
}

TEST(BenchOptions, WrongLinesEndWithTwo) {
  const std::vector<std::vector<const char*>> wrong = {
      {},
      {"x", "--shape", "tiny"},
      {"--shape", "nano"},
      {"x", "--layers", "2"},
      {"x", "--skew", "1"},
      {"--shape", "tiny", "--skew", "9"},
      {"--shape", "tiny", "--affinity", "-1"},
      {"x", "-p", "-1"},
      {"x", "-p", "many"},
      {"x", "-b", "0"},
      {"x", "-r", "0"},
      {"x", "-o", "xml"},
      {"x", "--kv-cache-dtype", "q8_0"},
      {"x", "--no-such-option"},
  };
  for (const auto& words : wrong) {
    BenchOptions options;
    EXPECT_EQ(parse(words, options), 2) << (words.empty() ? "" : words.back());
  }
}

TEST(BenchOptions, HelpEndsWithNought) {
  BenchOptions options;
  EXPECT_EQ(parse({"--help"}, options), 0);
}

}  // namespace
}  // namespace foregate
