// One budget for KV blocks and experts. A burst of long requests makes experts give way where fixed shares would
// preempt somebody; afterwards experts get the memory back; the answers are those that fixed shares give to one request
// after the other, byte for byte. And memory that is really taken stays within the budget.
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <thread>

#include "engine/runtime/elastic_memory.h"
#include "tests/engine/model/packing.h"
#include "tests/engine/runtime/borrowed_model.h"
#include "tests/engine/runtime/same_answer.h"

namespace foregate {
namespace {

using namespace testing_support;

const MemoryFiles& disk() {
  static const MemoryFiles files = packing::packed(
      std::string(FOREGATE_SOURCE_DIR) + "/tests/golden/qwen3-moe-top4-norm", packing::pack_options("none"));
  return files;
}

constexpr std::int32_t kBlock = 16;
constexpr std::int64_t kFirstBlocks = 16;

// Pages so small that each block is a unit; what is given back is spoilt.
class SmallPages final : public PageSource {
 public:
  std::size_t page_bytes() const override { return 512; }
  Memory reserve(std::size_t pieces, std::size_t piece_bytes) override {
    const std::size_t bytes = (pieces * piece_bytes + 4095) / 4096 * 4096;
    return {std::aligned_alloc(4096, bytes), bytes, [](void* data, std::size_t) { std::free(data); }};
  }
  void give_back(std::byte* data, std::size_t bytes) override { std::memset(data, 0x7f, bytes); }
};

struct Shares {
  SmallPages pages;
  packing::Loaded loaded;
  std::int64_t block_bytes = 0;
  std::int64_t budget = 0;

  // The model keeps a reference to what is loaded with it, so that must not move.
  explicit Shares(bool elastic) : loaded(packing::load(disk(), "m", options(elastic))) {
    EXPECT_TRUE(loaded.model.ok()) << loaded.model.status().to_string();
    block_bytes = model().kv_layout(DType::kF32, kBlock).block_bytes();
    budget = kFirstBlocks * block_bytes + static_cast<std::int64_t>(model().store()->stats().slot_bytes);
  }
  // Most experts at the start; `elastic`: down to a fifth of them.
  LoadOptions options(bool elastic) {
    LoadOptions options = packing::load_options();
    options.max_batched_tokens = 64;
    options.experts.emplace();
    options.experts->warm = false;
    StoreOptions& store = options.experts->store;
    store.policy = "lru";
    const std::uint64_t all = expert_bytes();
    store.budget_bytes = all * 9 / 10;
    if (elastic) store.elastic = {&pages, all / 5, all};
    return options;
  }
  Transformer& model() { return **loaded.model; }
  static std::uint64_t expert_bytes() {
    std::uint64_t bytes = 0;
    auto model = PackedModel::open(disk(), "m");
    for (const PackedUnit& unit : model->index().units) bytes += unit.kind == PackedKind::kExpert ? unit.bytes : 0;
    return bytes;
  }

  std::unique_ptr<Engine> engine(bool elastic) {
    EngineSetup setup;
    setup.options.max_num_seqs = 8;
    setup.options.max_num_batched_tokens = 64;
    setup.block_size = kBlock;
    setup.num_blocks = kFirstBlocks;
    setup.limits.vocab_size = model().vocab_size();
    setup.limits.max_model_len = static_cast<std::int32_t>(kFirstBlocks) * kBlock;
    EngineParts parts = parts_of(setup, std::make_unique<BorrowedModel>(model()));
    if (elastic) {
      auto cache = KvCache::create_elastic(host_device(), pages, model().kv_layout(DType::kF32, kBlock), 64);
      EXPECT_TRUE(cache.ok());
      EXPECT_EQ(cache->unit_blocks(), 1);
      parts.cache = std::move(cache).value();
      parts.elastic = {.budget_bytes = budget, .block_bytes = block_bytes, .present_blocks = 16, .least_blocks = 16};
      parts.elastic.rules = {
          .sustain_seconds = 0.002, .interval_seconds = 0.001, .bytes_per_interval = budget / 4, .reserve_blocks = 4};
    }
    auto made = make_engine(std::move(parts));
    EXPECT_TRUE(made.ok()) << made.status().to_string();
    return std::move(made).value();
  }
};

std::vector<Request> burst(std::int32_t vocab) {
  std::vector<Request> requests;
  for (std::uint64_t id = 1; id <= 3; ++id) {
    requests.push_back(make_request(id, random_prompt(id, 50, vocab), 70));
    requests.back().sampling.ignore_eos = true;
    if (id % 2 == 0) requests.back().sampling.temperature = 0.9f;
    requests.back().sampling.seed = id;
  }
  return requests;
}

TEST(ElasticEngine, ABurstTakesFromTheExpertsAndGivesBack) {
  Shares fixed(false), shared(true);
  const std::vector<Request> requests = burst(fixed.model().vocab_size());
  const auto alone = answers_of(*fixed.engine(false), requests, false);
  const auto split = fixed.engine(false);
  EXPECT_EQ(answers_of(*split, requests, true), alone);
  EXPECT_GT(split->stats().preemptions, 0u);
  EXPECT_FALSE(split->stats().elastic.has_value());

  const auto engine = shared.engine(true);
  const ElasticFigures start = *engine->stats().elastic;
  EXPECT_EQ(start.budget_bytes, start.cache_bytes + start.expert_bytes);
  EXPECT_EQ(answers_of(*engine, requests, true), alone);
  EngineStats stats = engine->stats();
  EXPECT_EQ(stats.preemptions, 0u);
  EXPECT_EQ(stats.refused, 0u);
  EXPECT_GT(stats.elastic->moves_to_cache, 0u);
  EXPECT_GE(stats.elastic->bytes_to_cache, static_cast<std::uint64_t>(8 * shared.block_bytes));
  // Slots went; where steps are slow, experts may have them back by now.
  EXPECT_TRUE(stats.elastic->expert_bytes < start.expert_bytes || stats.elastic->moves_to_experts > 0);
  // Short requests one after the other: blocks lie idle and experts are missed.
  std::vector<Request> few = burst(fixed.model().vocab_size());
  for (Request& request : few) request.sampling.max_tokens = 40;
  for (int i = 0; i < 200 && engine->stats().elastic->expert_bytes < start.expert_bytes; ++i) {
    for (Request& request : few) request.id = RequestId{request.id.value + 100};
    const auto answers = answers_of(*engine, few, false);
    for (std::size_t at = 0; at < few.size(); ++at) {
      ASSERT_TRUE(std::equal(answers[at].begin(), answers[at].end(), alone[at].begin()));
    }
  }
  stats = engine->stats();
  EXPECT_GE(stats.elastic->expert_bytes, start.expert_bytes);
  EXPECT_GT(stats.elastic->moves_to_experts, 0u);
  EXPECT_GT(stats.elastic->bytes_to_experts, 0u);
  EXPECT_EQ(stats.preemptions, 0u);
  for (Request& request : few) request = burst(fixed.model().vocab_size())[&request - few.data()];
  EXPECT_EQ(answers_of(*engine, few, true), alone);  // and again
  EXPECT_EQ(engine->stats().preemptions, 0u);
}

TEST(ElasticEngine, PartsThatDoNotGoTogetherAreRefused) {
  EngineSetup setup;
  EngineParts parts = parts_of(setup, std::make_unique<StubModel>(kVocab));
  parts.elastic = {.budget_bytes = 1 << 20,
                   .block_bytes = parts.cache.layout().block_bytes(),
                   .present_blocks = 8,
                   .least_blocks = 8};
  EXPECT_EQ(make_engine(std::move(parts)).status().field(), "elastic_memory");  // its experts are where they are
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kPagesAreOurs = false;  // most are the sanitizer's, which notes what is done to ours
#else
constexpr bool kPagesAreOurs = true;
#endif

// Memory of this process that is not backed by files, in bytes.
std::int64_t anonymous_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    std::int64_t kilobytes = 0;
    if (word == "RssAnon:" && status >> kilobytes) return kilobytes * 1024;
  }
  return -1;
}

// Slots whose every byte is written to.
class WrittenSlots final : public ElasticSlots {
 public:
  WrittenSlots(PageSource& pages, std::size_t slots, std::size_t bytes, std::size_t most)
      : pages_(pages), bytes_(bytes), memory_(pages.reserve(most, bytes)), most_(most) {
    take(static_cast<std::int64_t>(slots * bytes));
  }
  ElasticSlotFigures elastic_figures() const override {
    ElasticSlotFigures figures;
    figures.slot_bytes = static_cast<std::int64_t>(bytes_);
    figures.slots = slots_;
    figures.bytes = figures.slot_bytes * static_cast<std::int64_t>(slots_);
    figures.least_bytes = figures.slot_bytes;
    figures.most_bytes = figures.slot_bytes * static_cast<std::int64_t>(most_);
    figures.misses = figures_asked_++;
    figures.stall_seconds = static_cast<double>(figures_asked_);
    return figures;
  }
  std::int64_t give_up(std::int64_t bytes) override {
    std::int64_t gone = 0;
    for (; gone < bytes && slots_ > 1; gone += static_cast<std::int64_t>(bytes_)) {
      pages_.give_back(memory_.data() + --slots_ * bytes_, bytes_);
    }
    return gone;
  }
  std::int64_t take(std::int64_t bytes) override {
    std::int64_t taken = 0;
    for (; taken + static_cast<std::int64_t>(bytes_) <= bytes && slots_ < most_;
         taken += static_cast<std::int64_t>(bytes_)) {
      std::memset(memory_.data() + slots_++ * bytes_, 7, bytes_);
    }
    return taken;
  }

 private:
  PageSource& pages_;
  std::size_t bytes_;
  Memory memory_;
  std::size_t most_;
  std::size_t slots_ = 0;
  mutable std::uint64_t figures_asked_ = 0;
};

TEST(ElasticMemory, WhatIsTakenStaysWithinTheBudget) {
  const std::int64_t before = anonymous_bytes();
  if (before < 0) GTEST_SKIP() << "no RssAnon in /proc/self/status";
  constexpr std::int64_t kSlack = 2 << 20;  // of the allocator and the test
  const auto pages = make_host_pages();
  KvLayout layout;
  layout.layers = {{KvKind::kFull, 4, 64, 0}, {KvKind::kFull, 4, 64, 0}};
  layout.block_size = 16;
  constexpr std::int64_t kBudget = 48 << 20;
  auto made = KvCache::create_elastic(host_device(), *pages, layout, kBudget / layout.block_bytes());
  ASSERT_TRUE(made.ok());
  KvCache& cache = *made;
  ASSERT_EQ(cache.unit_blocks(), 1);
  BlockPool pool(static_cast<std::int32_t>(cache.num_blocks()), 16, 64, 1);
  constexpr std::size_t kSlot = 5 << 20;  // with huge pages in it, where the system has some
  WrittenSlots slots(*pages, 8, kSlot, 9);
  ElasticParts parts = {
      .budget_bytes = kBudget, .block_bytes = layout.block_bytes(), .present_blocks = 64, .least_blocks = 32};
  parts.rules = {.sustain_seconds = 0, .interval_seconds = 0, .bytes_per_interval = kBudget, .reserve_blocks = 0};
  ManualClock clock;
  ElasticMemory elastic(parts, &slots, clock);
  SchedLimits limits;
  limits.max_num_seqs = 1 << 20;
  limits.max_num_batched_tokens = 1 << 30;
  const std::vector<std::byte> ones(static_cast<std::size_t>(layout.block_bytes()), std::byte{1});
  std::int64_t most = 0, least_slots = 9;
  for (int i = 0; i < 40; ++i) {
    SeqView wants;
    wants.tokens = wants.max_blocks = (i % 4 < 2 ? 600 : 1);
    wants.tokens *= 16;
    PlanInput input;
    input.block_size = 16;
    input.waiting = {&wants, 1};
    elastic.settle(pool, cache);
    elastic.balance(input, limits, pool, cache);
    ASSERT_TRUE(elastic.audit(pool).ok()) << elastic.audit(pool).to_string();
    std::vector<BlockId> held;
    while (const auto block = pool.acquire()) held.push_back(*block);
    for (const BlockId block : held) cache.load_block(block, ones.data());
    const std::int64_t taken = anonymous_bytes() - before;
    if (kPagesAreOurs) ASSERT_LE(taken, kBudget + kSlack) << i;
    most = std::max(most, taken);
    least_slots = std::min(least_slots, static_cast<std::int64_t>(slots.elastic_figures().slots));
    for (const BlockId block : held) pool.release(block);
    clock.advance(1.0);
  }
  EXPECT_GT(most, kBudget * 9 / 10);
  EXPECT_LE(least_slots, 2);
  EXPECT_EQ(slots.elastic_figures().slots, 9u);
  const ElasticFigures figures = *elastic.figures(pool);
  EXPECT_GT(figures.moves_to_cache, 5u);
  EXPECT_GT(figures.moves_to_experts, 5u);
}

}  // namespace
}  // namespace foregate
