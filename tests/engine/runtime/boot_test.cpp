// Booting from a directory, what is reported, and what is refused before anything is allocated.
#include "engine/runtime/boot.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <limits>

#include "engine/runtime/memory_budget.h"
#include "tests/engine/runtime/harness.h"

namespace foregate {
namespace {

using namespace testing_support;
namespace fs = std::filesystem;

constexpr const char* kTokenizer = R"({"version": "1.0", "truncation": null, "padding": null,
  "added_tokens": [{"id": 4, "content": "<end>", "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": true}],
  "normalizer": null, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                                        "use_regex": true},
  "post_processor": null, "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true,
                                      "use_regex": true},
  "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": {"a": 0, "b": 1, "ab": 2, "c": 3}, "merges": ["a b"]}})";

void write(const fs::path& path, const std::string& text) {
  std::ofstream(path) << text;
}

class Boot : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = fs::path(::testing::TempDir()) / ("foregate_boot_" + std::to_string(::getpid()));
    fs::remove_all(dir_);
    fs::create_directories(dir_);
    const fs::path golden = fs::path(FOREGATE_SOURCE_DIR) / "tests/golden/qwen3-moe-top4-norm";
    for (const char* name : {"config.json", "generation_config.json", "model.safetensors"}) {
      fs::copy_file(golden / name, dir_ / name);
    }
    write(dir_ / "tokenizer.json", kTokenizer);
    options_.model = dir_.string();
    options_.threads = 1;
    options_.max_num_seqs = 4;
  }
  void TearDown() override { fs::remove_all(dir_); }

  Status refused() {
    auto booted = boot_engine(options_);
    EXPECT_FALSE(booted.ok());
    return booted.ok() ? Status() : booted.status();
  }

  fs::path dir_;
  BootOptions options_;
};

TEST_F(Boot, FromDirectoryToTokens) {
  std::vector<std::string> stages;
  options_.progress = [&](std::string_view stage, double fraction) {
    EXPECT_GE(fraction, 0.0);
    EXPECT_LE(fraction, 1.0);
    if (stages.empty() || stages.back() != stage) stages.emplace_back(stage);
  };
  write(dir_ / "tokenizer_config.json", R"({"bos_token": {"content": "<s>"}, "eos_token": "<end>",
                                            "chat_template": "{{ messages[0].content }}"})");
  auto booted = boot_engine(options_);
  ASSERT_TRUE(booted.ok()) << booted.status().to_string();
  BootedEngine& b = **booted;
  EXPECT_EQ(stages.back(), "ready");
  EXPECT_EQ(b.bos_token(), "<s>");
  EXPECT_EQ(b.eos_token(), "<end>");
  EXPECT_NE(b.chat_template(), nullptr);
  EXPECT_EQ(b.generation_defaults().top_k, 20);
  EXPECT_EQ(b.generation_defaults().temperature, 0.7f);
  const ModelInfo& info = b.engine().model();
  EXPECT_EQ(info.architecture, "Qwen3MoeForCausalLM");
  EXPECT_EQ(info.max_model_len, 512);
  EXPECT_EQ(info.eos_token_ids, (std::vector<Token>{3, 5}));
  EXPECT_GT(info.parameters, info.active_parameters);
  EXPECT_GT(info.active_parameters, 0);
  EXPECT_EQ(b.report().num_blocks, 4 * 512 / 16);
  EXPECT_EQ(b.report().threads, 1);

  auto sink = std::make_shared<CollectSink>();
  Request request = make_request(1, *b.tokenizer()->encode("abc"), 6);
  EXPECT_EQ(request.prompt, (std::vector<Token>{2, 3}));
  request.sampling.ignore_eos = true;
  ASSERT_TRUE(b.engine().submit(request, sink).ok());
  ASSERT_TRUE(sink->wait_finished(1));
  EXPECT_EQ(sink->log().tokens.size(), 6u);
}

TEST_F(Boot, CacheTypeFollowsTheMatrices) {
  const auto type = [this] { return (*boot_engine(options_))->report().kv_type; };
  options_.model = (fs::path(FOREGATE_SOURCE_DIR) / "models/demo").string();  // rows of whole blocks
  EXPECT_EQ(type(), DType::kF32);
  options_.quantization = "q8_0";
  EXPECT_EQ(type(), DType::kF16);
  options_.kv_type = DType::kF32;
  EXPECT_EQ(type(), DType::kF32);
  options_.quantization = "none";
  options_.kv_type = DType::kBF16;
  EXPECT_EQ(type(), DType::kBF16);
}

TEST_F(Boot, CacheInInt8IsSmallerAndSaysSo) {
  Metrics metrics;
  options_.metrics = &metrics;
  options_.model = (fs::path(FOREGATE_SOURCE_DIR) / "models/demo").string();
  options_.kv_type = DType::kF16;
  const std::int64_t halves = (*boot_engine(options_))->report().block_bytes;
  options_.kv_type = DType::kI8;
  auto booted = boot_engine(options_);
  ASSERT_TRUE(booted.ok()) << booted.status().to_string();
  EXPECT_LT((*booted)->report().block_bytes, halves);
  EXPECT_EQ((*booted)->report().kv_type, DType::kI8);
  EXPECT_NE(metrics.prometheus_text().find("cache_dtype=\"int8\""), std::string::npos);
}

TEST_F(Boot, BlocksFollowBytesAndCounts) {
  options_.num_blocks = 7;
  EXPECT_EQ((*boot_engine(options_))->report().num_blocks, 7);
  options_.num_blocks = 0;
  options_.max_model_len = 32;
  auto booted = boot_engine(options_);
  EXPECT_EQ((*booted)->report().num_blocks, 8);
  options_.kv_cache_bytes = (*booted)->report().block_bytes * 5;
  EXPECT_EQ((*boot_engine(options_))->report().num_blocks, 5);
  options_.kv_cache_bytes = (*booted)->report().block_bytes;
  EXPECT_EQ(refused().code(), Code::kResourceExhausted);
}

TEST_F(Boot, BadOptionsAreNamed) {
  const auto field = [&](auto change) {
    const BootOptions good = options_;
    change(options_);
    const std::string name = refused().field();
    options_ = good;
    return name;
  };
  EXPECT_EQ(field([](BootOptions& o) { o.max_model_len = 513; }), "max_model_len");
  EXPECT_EQ(field([](BootOptions& o) { o.max_model_len = -1; }), "max_model_len");
  EXPECT_EQ(field([](BootOptions& o) { o.max_num_seqs = -1; }), "max_num_seqs");
  EXPECT_EQ(field([](BootOptions& o) { o.block_size = 0; }), "block_size");
  EXPECT_EQ(field([](BootOptions& o) { o.isa = "sse9"; }), "isa");
  EXPECT_EQ(field([](BootOptions& o) { o.kv_type = DType::kI64; }), "kv_cache_dtype");
  EXPECT_EQ(field([](BootOptions& o) { o.model = ""; }), "model");
}

TEST_F(Boot, BrokenDirectoriesAreRefusedByFile) {
  write(dir_ / "chat_template.jinja", "{% if %}");
  EXPECT_NE(refused().message().find("chat_template.jinja"), std::string::npos);
  fs::remove(dir_ / "chat_template.jinja");
  for (const char* bad : {"[1]", "{\"bos_token\": 3}", "{", "{\"chat_template\": 7}"}) {
    write(dir_ / "tokenizer_config.json", bad);
    EXPECT_NE(refused().message().find("tokenizer_config.json"), std::string::npos) << bad;
  }
  fs::remove(dir_ / "tokenizer_config.json");
  for (const char* name : {"tokenizer.json", "config.json", "model.safetensors"}) {
    fs::rename(dir_ / name, dir_ / "away");
    const Status status = refused();
    EXPECT_NE(status.message().find(name), std::string::npos) << status.to_string();
    fs::rename(dir_ / "away", dir_ / name);
  }
  EXPECT_TRUE(boot_engine(options_).ok());
}

TEST_F(Boot, NamedTemplatesAreReadAndNoneIsNoError) {
  write(dir_ / "tokenizer_config.json",
        R"({"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]})");
  auto booted = boot_engine(options_);
  ASSERT_TRUE(booted.ok()) << booted.status().to_string();
  EXPECT_NE((*booted)->chat_template(), nullptr);
  fs::remove(dir_ / "tokenizer_config.json");
  fs::remove(dir_ / "chat_template.jinja");
  booted = boot_engine(options_);
  ASSERT_TRUE(booted.ok()) << booted.status().to_string();
  EXPECT_EQ((*booted)->chat_template(), nullptr);
}

// Layers with a window have blocks of their own unless that is switched off, and the tokens are the same.
TEST_F(Boot, BlocksForLayersWithAWindow) {
  for (const char* name : {"config.json", "generation_config.json", "model.safetensors"}) {
    fs::copy_file(fs::path(FOREGATE_SOURCE_DIR) / "tests/golden/smallthinker-sigmoid-layouts" / name, dir_ / name,
                  fs::copy_options::overwrite_existing);
  }
  options_.max_num_batched_tokens = 32;
  options_.kv_cache_bytes = 600'000;
  std::vector<std::vector<Token>> answers;
  std::vector<BootReport> reports;
  std::vector<EngineStats> stats;
  for (const bool together : {false, true}) {
    options_.disable_hybrid_kv_cache_manager = together;
    auto booted = boot_engine(options_);
    ASSERT_TRUE(booted.ok()) << booted.status().to_string();
    reports.push_back((*booted)->report());
    const auto sink = std::make_shared<CollectSink>();
    Request request = make_request(1, random_prompt(3, 100, (*booted)->engine().model().vocab_size), 12);
    request.sampling.ignore_eos = true;
    ASSERT_TRUE((*booted)->engine().submit(std::move(request), sink).ok());
    ASSERT_TRUE(sink->wait_finished(1));
    ASSERT_TRUE(wait_idle((*booted)->engine()));
    answers.push_back(sink->log().tokens);
    stats.push_back((*booted)->engine().stats());
  }
  EXPECT_EQ(answers[0].size(), 12u);
  EXPECT_EQ(answers[0], answers[1]);
  EXPECT_GT(reports[0].num_window_blocks, 0);
  EXPECT_EQ(reports[1].num_window_blocks, 0);
  EXPECT_GT(reports[0].num_blocks, reports[1].num_blocks) << "of the same bytes";
  EXPECT_LE(reports[0].cache_bytes, 600'000);
  EXPECT_EQ(stats[0].kv_window_blocks_total, reports[0].num_window_blocks);
  EXPECT_GT(stats[0].window_blocks_freed, 0u);
  EXPECT_EQ(stats[1].window_blocks_freed, 0u);
  options_.disable_hybrid_kv_cache_manager = false;
  options_.free_window_blocks = false;
  EXPECT_EQ((*boot_engine(options_))->report().num_window_blocks, 0);
}

TEST(MemoryBudget, ReadsTheKernelsFiles) {
  EXPECT_EQ(parse_mem_available("MemTotal: 100 kB\nMemAvailable:    2048 kB\nBuffers: 1 kB\n"), 2048 * 1024);
  EXPECT_EQ(parse_mem_available("MemTotal: 100 kB\n"), std::nullopt);
  EXPECT_EQ(parse_mem_available("MemAvailable: x kB\n"), std::nullopt);
  EXPECT_GT(available_memory(), 0);
}

TEST(MemoryBudget, ChoosesBlocks) {
  KvBudget budget;
  budget.block_bytes = 1000;
  budget.block_size = 16;
  budget.max_num_seqs = 4;
  budget.max_model_len = 100;  // seven blocks
  EXPECT_EQ(*choose_num_blocks(budget), 28);
  budget.available_bytes = 20'000;
  EXPECT_EQ(*choose_num_blocks(budget), 10) << "half of what is available";
  budget.available_bytes = 13'000;
  const Status status = choose_num_blocks(budget).status();
  EXPECT_EQ(status.code(), Code::kResourceExhausted);
  EXPECT_NE(status.message().find("7000 bytes"), std::string::npos) << status.message();
  budget.kept_bytes = 7'500;
  EXPECT_EQ(*choose_num_blocks(budget), 7) << "kept, and more than half";
  budget.kept_bytes = 90'000;
  EXPECT_EQ(*choose_num_blocks(budget), 13) << "what is there";
  budget.kept_bytes = 1'000;
  EXPECT_FALSE(choose_num_blocks(budget).ok());
  budget.kv_cache_bytes = 50'000;
  EXPECT_NE(choose_num_blocks(budget).status().message().find("50000 bytes, 13000 are"), std::string::npos);
  budget.available_bytes = 60'000;
  EXPECT_EQ(*choose_num_blocks(budget), 50);
  budget.num_blocks = 3;
  EXPECT_EQ(*choose_num_blocks(budget), 3);
  budget.num_blocks = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ(choose_num_blocks(budget).status().code(), Code::kResourceExhausted);
}

}  // namespace
}  // namespace foregate
