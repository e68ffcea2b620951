// Speculative = plain over real transformers, byte for byte: the demo model with prompt lookup at several batch widths,
// chunks and page lengths, and a packed model most of whose experts are on disk.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "engine/base/metrics.h"
#include "engine/experts/expert_store.h"
#include "engine/model/nextn.h"
#include "engine/runtime/boot.h"
#include "engine/spec/ngram_drafter.h"
#include "engine/spec/suffix_drafter.h"
#include "tests/engine/model/packing.h"
#include "tests/engine/runtime/borrowed_model.h"
#include "tests/engine/runtime/same_answer.h"

namespace foregate {
namespace {

using namespace testing_support;

// Prompts that repeat themselves, so that lookups find something; some greedy, some sampled.
std::vector<Request> repeating_requests(int count, std::int32_t vocab, std::int32_t max_tokens) {
  std::vector<Request> requests = mixed_requests(21, count, vocab, 5, 20, max_tokens);
  for (Request& request : requests) {
    const std::vector<Token> once = request.prompt;
    for (int i = 0; i < 3; ++i) request.prompt.insert(request.prompt.end(), once.begin(), once.end());
    request.sampling.max_tokens = max_tokens;
  }
  return requests;
}

void expect_same(const RunResult& plain, const RunResult& run) {
  ASSERT_TRUE(plain.ended && run.ended);
  const Difference difference = compare_runs(plain, run);
  EXPECT_EQ(difference.answers, 0);
  EXPECT_EQ(difference.logits, 0);
  EXPECT_EQ(difference.compared, static_cast<std::int64_t>(plain.record->rows.size()));
  EXPECT_EQ(run.stats.kv_blocks_used, 0);
  ASSERT_TRUE(run.stats.speculation.has_value());
  EXPECT_GT(run.stats.speculation->accepted_tokens, 0u);
  EXPECT_LT(run.stats.speculation->accepted_tokens, run.stats.speculation->draft_tokens);
}

TEST(SpeculationDemo, EveryWayOfRunningEqualsPlain) {
  BootOptions options;
  options.model = std::string(FOREGATE_SOURCE_DIR) + "/models/demo";
  options.threads = 1;
  auto booted = boot_model(options);
  ASSERT_TRUE(booted.ok()) << booted.status().to_string();
  const ModelMaker maker = [&] { return std::make_unique<BorrowedModel>((*booted)->model()); };
  const std::vector<Request> requests = repeating_requests(6, (*booted)->info().vocab_size, 16);
  EngineSetup setup;
  setup.limits.vocab_size = (*booted)->info().vocab_size;
  setup.options.max_num_batched_tokens = 128;
  const RunResult plain = run_requests(setup, maker, requests, Arrival::kOneByOne);
  setup.drafter = [] { return std::make_unique<NgramDrafter>(1, 3); };
  expect_same(plain, run_requests(setup, maker, requests, Arrival::kOneByOne));
  for (int width : {2, 4, 8}) {
    setup.options.max_num_seqs = width;
    setup.block_size = width == 4 ? 16 : 4;
    setup.options.max_prefill_chunk = width == 8 ? 7 : 0;
    const RunResult run = run_requests(setup, maker, requests, Arrival::kTogether);
    expect_same(plain, run);
    EXPECT_GT(run.stats.batched_steps, 0u);
  }
  setup.drafter = [] { return std::make_unique<SuffixDrafter>(SuffixOptions{.max_spec_factor = 4.0}); };
  expect_same(plain, run_requests(setup, maker, requests, Arrival::kTogether));
  setup.block_size = 4;
  setup.num_blocks = 40;  // one request may need 24
  const RunResult tight = run_requests(setup, maker, requests, Arrival::kTogether);
  expect_same(plain, tight);
  EXPECT_GT(tight.stats.preemptions, 0u);
}

// Half of the tokens that are in the answers.
std::vector<Token> drafted_often(const std::vector<std::vector<Token>>& answers) {
  std::set<Token> said;
  for (const auto& answer : answers) said.insert(answer.begin(), answer.end());
  std::vector<Token> half;
  for (const Token token : said) {
    if (half.empty() || token % 2 == 0) half.push_back(token);
  }
  return half;
}

// Through boot: the draft model's own cache, catching up, several sequences at once.
TEST(SpeculationDemo, TheDraftModelEqualsPlain) {
  Metrics metrics;
  const auto answers = [&](const std::string& config, SpecFigures* figures) {
    BootOptions options;
    options.metrics = &metrics;
    options.model = std::string(FOREGATE_SOURCE_DIR) + "/models/demo";
    options.threads = 1;
    options.max_num_seqs = 4;
    options.speculative_config = config;
    auto booted = boot_engine(options);
    CHECK(booted.ok());
    Engine& engine = (*booted)->engine();
    std::vector<std::shared_ptr<CollectSink>> sinks;
    for (const Request& request : repeating_requests(6, engine.limits().vocab_size, 20)) {
      sinks.push_back(std::make_shared<CollectSink>());
      EXPECT_TRUE(engine.submit(request, sinks.back()).ok());
    }
    std::vector<std::vector<Token>> tokens;
    for (const auto& sink : sinks) {
      EXPECT_TRUE(sink->wait_finished(1));
      tokens.push_back(sink->log().tokens);
    }
    EXPECT_TRUE(wait_idle(engine));
    if (figures != nullptr) *figures = engine.stats().speculation.value();
    return tokens;
  };
  const std::string draft = std::string(FOREGATE_SOURCE_DIR) + "/models/demo-draft";
  SpecFigures figures;
  const auto plain = answers("", nullptr);
  EXPECT_EQ(plain, answers(R"({"method": "draft_model", "adaptive": false, "model": ")" + draft + "\"}", &figures));
  EXPECT_GT(figures.accepted_tokens, 0u);
  EXPECT_LT(figures.accepted_tokens, figures.draft_tokens);
  const std::string whole = R"({"method": "draft_model", "adaptive": false, "quantization": "none", "model": ")";
  EXPECT_EQ(plain, answers(whole + draft + "\"}", &figures));
  EXPECT_GT(figures.accepted_tokens, 0u);
  EXPECT_EQ(plain, answers(R"({"method": "draft_model", "model": ")" + draft + "\"}", &figures));
  EXPECT_GT(figures.gated, 0u);  // the first steps are plain, to know what they cost
  const std::string nextn = std::string(FOREGATE_SOURCE_DIR) + "/models/demo-nextn";
  EXPECT_EQ(plain, answers(R"({"method": "mtp", "adaptive": false, "model": ")" + nextn + "\"}", &figures));
  EXPECT_GT(figures.accepted_tokens, 0u);
  EXPECT_LT(figures.accepted_tokens, figures.draft_tokens);
  EXPECT_EQ(plain, answers(R"({"method": "mtp", "model": ")" + nextn + "\"}", &figures));
  EXPECT_GT(figures.gated, 0u);
  // Few tokens are drafted, by a file: of a draft model, and of a layer whose head is the model's.
  const std::string file = testing::TempDir() + "token_map_" + std::to_string(::getpid()) + ".json";
  std::ofstream(file) << nlohmann::json(drafted_often(plain)).dump();
  for (const std::string& way : {R"("draft_model", "model": ")" + draft, R"("mtp", "model": ")" + nextn}) {
    const std::string config = R"({"adaptive": false, "speculative_token_map": ")" + file + R"(", "method": )" + way;
    EXPECT_EQ(plain, answers(config + "\"}", &figures));
    EXPECT_GT(figures.accepted_tokens, 0u);
    EXPECT_LT(figures.accepted_tokens, figures.draft_tokens);
  }
  EXPECT_EQ(metrics.gauge("foregate_spec_draft_vocabulary", "", {{"model_name", "demo"}}).value(),
            static_cast<double>(drafted_often(plain).size()));
  std::filesystem::remove(file);
  if (kEvictAtRelease) return;  // no expert stays in memory in this flavour
  EXPECT_EQ(plain, answers(R"({"method": "self", "num_experts": 1, "adaptive": false})", &figures));
  EXPECT_GT(figures.accepted_tokens, 0u);
  EXPECT_LT(figures.accepted_tokens, figures.draft_tokens);
}

TEST(SpeculationDemo, DraftingByItselfIsRefusedWhereItCannotBe) {
  if (kEvictAtRelease) GTEST_SKIP() << "no expert stays in memory in this flavour";
  const auto refused = [](const char* model, const char* experts, const char* memory) {
    BootOptions options;
    options.model = std::string(FOREGATE_SOURCE_DIR) + model;
    options.threads = 1;
    options.expert_memory = memory;
    options.speculative_config = std::string(R"({"method": "self", "num_experts": )") + experts + "}";
    const Status status = boot_engine(options).status();
    EXPECT_EQ(status.code(), Code::kInvalidArgument);
    EXPECT_EQ(status.field(), "speculative_config");
    return status.message();
  };
  EXPECT_NE(refused("/models/demo", "2", "all").find("from 1 to 1"), std::string::npos);
  EXPECT_NE(refused("/models/demo", "1", "50%").find("in memory"), std::string::npos);
  EXPECT_NE(refused("/models/demo-draft", "1", "all").find("with experts"), std::string::npos);
}

TEST(SpeculationDemo, ANextnLayerIsRefusedWhereThereIsNone) {
  BootOptions options;
  options.model = std::string(FOREGATE_SOURCE_DIR) + "/models/demo";
  options.threads = 1;
  options.speculative_config = R"({"method": "mtp"})";
  Status status = boot_engine(options).status();
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_EQ(status.field(), "speculative_config");
  EXPECT_NE(status.message().find("num_nextn_predict_layers"), std::string::npos) << status.message();
  const MemoryFiles disk = packing::packed(std::string(FOREGATE_SOURCE_DIR) + "/tests/golden/nextn/dense-own-head",
                                           packing::pack_options("none"));
  packing::Loaded loaded = packing::load(disk, "m", packing::load_options());
  ASSERT_TRUE(loaded.model.ok()) << loaded.model.status().to_string();
  auto opened = open_model(disk, "m");
  ASSERT_TRUE(opened.ok()) << opened.status().to_string();
  status = load_nextn(*opened, **loaded.model, packing::load_options()).status();
  EXPECT_EQ(status.field(), "speculative_config");
  EXPECT_NE(status.message().find("original"), std::string::npos) << status.message();
}

TEST(SpeculationOffload, WithExpertsOnDiskEqualsPlain) {
  const MemoryFiles disk = packing::packed(std::string(FOREGATE_SOURCE_DIR) + "/tests/golden/qwen3-moe-top4-norm",
                                           packing::pack_options("none"));
  auto packed = PackedModel::open(disk, "m");
  std::uint64_t expert_bytes = 0;
  for (const PackedUnit& unit : packed->index().units) {
    expert_bytes += unit.kind == PackedKind::kExpert ? unit.bytes : 0;
  }
  EngineSetup setup;
  setup.options.max_num_batched_tokens = 32;
  setup.options.max_num_seqs = 3;
  const auto run = [&](std::uint64_t budget, bool drafts) {
    LoadOptions options = packing::load_options();
    options.experts.emplace();
    options.experts->warm = false;
    options.experts->store.budget_bytes = budget;
    packing::Loaded loaded = packing::load(disk, "m", options);
    CHECK(loaded.model.ok());
    setup.limits.vocab_size = (*loaded.model)->vocab_size();
    setup.drafter = nullptr;
    if (drafts) setup.drafter = [] { return std::make_unique<NgramDrafter>(1, 3); };
    Model& model = **loaded.model;
    const auto requests = repeating_requests(6, setup.limits.vocab_size, 40);
    RunResult result = run_requests(
        setup, [&model] { return std::make_unique<BorrowedModel>(model); }, requests, Arrival::kTogether);
    result.stats.experts = model.expert_figures();
    return result;
  };
  const RunResult plain = run(expert_bytes, false);
  for (const std::uint64_t budget : {expert_bytes / 2, expert_bytes}) {
    const RunResult drafted = run(budget, true);
    expect_same(plain, drafted);
    EXPECT_EQ(drafted.stats.experts->evictions > 0, budget < expert_bytes);
  }
}

}  // namespace
}  // namespace foregate
