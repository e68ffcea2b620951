// Models whose dense weights pass through a window, with experts in memory, in a store, or none: the same logits bit
// for bit at every budget, and a disk that fails ends the step with an error, after which the same bits come again.
#include <gtest/gtest.h>

#include <cstring>

#include "engine/model/dense_loader.h"
#include "tests/engine/io/fault_files.h"
#include "tests/engine/model/packing.h"

namespace foregate {
namespace {

using namespace packing;
using Rows = std::vector<std::vector<float>>;

std::vector<Token> tokens(std::size_t count) {
  std::vector<Token> all;
  std::uint32_t seed = 1;
  for (std::size_t i = 0; i < count; ++i) {
    seed = seed * 1664525u + 1013904223u;
    all.push_back(static_cast<Token>(seed >> 24) % 96);
  }
  return all;
}

bool same_bits(const Rows& a, const Rows& b) {
  if (a.size() != b.size() || a.empty()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i].size() != b[i].size() || std::memcmp(a[i].data(), b[i].data(), a[i].size() * sizeof(float)) != 0)
      return false;
  }
  return true;
}

// Of at least three layers: dense, mixed, with shared experts, routed ahead.
std::vector<std::string> models() {
  std::vector<std::string> all = {demo_dir()};
  for (const char* name : {"qwen3-dense-llama3-rope", "qwen2-moe-mixed-layers", "qwen3-moe-dense-layers",
                           "pregated-dense-layers", "pregated-top2-norm", "smallthinker-softmax"}) {
    all.push_back(golden_dir(name));
  }
  return all;
}

struct Budgets {
  std::uint64_t least = 0;
  std::uint64_t all = 0;
  std::uint64_t experts = 0;  // of all
};

Budgets budgets_of(const FileSystem& files) {
  auto model = PackedModel::open(files, "m");
  EXPECT_TRUE(model.ok());
  Budgets budgets;
  std::size_t layers = 0;
  for (const PackedUnit& unit : model->index().units) {
    layers = std::max(layers, static_cast<std::size_t>(unit.layer + 1));
    if (unit.kind == PackedKind::kExpert) budgets.experts += unit.bytes;
  }
  for (const std::uint64_t bytes : dense_layer_bytes(model->index(), layers)) {
    budgets.all += bytes;
    budgets.least = std::max(budgets.least, 2 * bytes);
  }
  return budgets;
}

DriverOptions with_window(const FileSystem& files, std::uint64_t budget, std::uint64_t experts = 0) {
  DriverOptions options{.isa = "auto", .threads = 2, .files = &files, .dense = DenseLoading{.budget_bytes = budget}};
  if (experts > 0) options.experts = ExpertLoading{.store = {.budget_bytes = experts}, .warm = false};
  return options;
}

TEST(DenseMemory, GivesTheSameBitsAtEveryBudget) {
  const std::vector<Token> prompt = tokens(20);
  for (const std::string& dir : models()) {
    const MemoryFiles disk = packed(dir, pack_options("none"));
    const Budgets budgets = budgets_of(disk);
    ASSERT_LT(budgets.least, budgets.all) << dir;
    Driver whole("m", {.isa = "auto", .files = &disk});
    EXPECT_FALSE(whole.model().dense_figures().has_value());
    const Rows expected = whole.run(prompt, 5);
    for (const std::uint64_t budget : {budgets.least, (budgets.least + budgets.all) / 2, budgets.all}) {
      for (const std::uint64_t experts : {std::uint64_t{0}, budgets.experts * 2 / 3}) {
        if (experts == 0 && budgets.experts > 0 && kEvictAtRelease) continue;
        SCOPED_TRACE(dir + " " + std::to_string(budget) + " " + std::to_string(experts));
        Driver driver("m", with_window(disk, budget, experts));
        for (const std::size_t chunk : {1, 7, 20}) EXPECT_TRUE(same_bits(driver.run(prompt, chunk), expected));
        const auto figures = driver.model().dense_figures();
        ASSERT_EQ(figures.has_value(), budget < budgets.all);
        if (!figures) continue;
        const std::uint64_t steps = 20 + 3 + 1;
        EXPECT_EQ(figures->ready + figures->late, steps * figures->layers_streamed);
        EXPECT_GE(figures->loads, steps * figures->layers_streamed);
        EXPECT_EQ(figures->load_retries + figures->load_failures, 0u);
        EXPECT_EQ(figures->slot_bytes, budgets.least) << "the largest layer passes through, of all these models";
        EXPECT_LT(driver.model().weight_bytes(), whole.model().weight_bytes());
      }
    }
  }
}

TEST(DenseMemory, QuantizedWeightsToo) {
  const std::vector<Token> prompt = tokens(8);
  for (const char* quantization : {"q8_0", "q4_0", "q4_k"}) {
    const MemoryFiles disk = packed(demo_dir(), pack_options(quantization, 200'000));
    Driver whole("m", {.isa = "auto", .files = &disk});
    Driver driver("m", with_window(disk, budgets_of(disk).least, budgets_of(disk).experts / 2));
    EXPECT_TRUE(same_bits(driver.run(prompt, 3), whole.run(prompt, 3))) << quantization;
    EXPECT_GT(driver.model().dense_figures()->loads, 0u);
  }
}

TEST(DenseMemory, RefusesByName) {
  const MemoryFiles disk = packed(golden_dir("qwen3-dense-llama3-rope"), pack_options("none"));
  LoadOptions options = load_options();
  options.dense = DenseLoading{.budget_bytes = budgets_of(disk).least - 1};
  const Loaded small = load(disk, "m", options);
  EXPECT_EQ(small.model.status().code(), Code::kInvalidArgument);
  EXPECT_EQ(small.model.status().field(), "dense_memory");
  EXPECT_NE(small.model.status().message().find(std::to_string(budgets_of(disk).least)), std::string::npos);
  const Loaded unpacked = load(local_files(), golden_dir("qwen3-dense-llama3-rope"), options);
  EXPECT_EQ(unpacked.model.status().field(), "dense_memory");
}

// With a store the reads of both go through one queue, each N-th fails whoever asked.
TEST(DenseMemory, EveryNthReadGoesWrong) {
  const std::vector<Token> prompt = tokens(10);
  for (const char* name : {"qwen3-dense-llama3-rope", "qwen2-moe-mixed-layers"}) {
    MemoryFiles disk = packed(golden_dir(name), pack_options("none"));
    FaultFiles faults{disk};
    const Budgets budgets = budgets_of(disk);
    Driver driver("m", with_window(faults, budgets.least, budgets.experts / 2));
    const Rows expected = driver.run(prompt, 4);
    std::uint64_t failed = 0;
    const std::pair<Fault, Code> kinds[] = {{Fault::kIoError, Code::kUnavailable},
                                            {Fault::kShortFile, Code::kDataLoss},
                                            {Fault::kFlippedBit, Code::kDataLoss}};
    for (const auto& [fault, code] : kinds) {
      for (const std::uint64_t every : {1, 2, 3, 5, 8}) {
        faults.set(fault, every);
        // How many reads one run needs depends on what earlier ones left in the slots: runs go on until one met the
        // fault.
        for (std::uint64_t runs = 0; faults.faults == 0 && runs < every; ++runs) {
          auto rows = driver.try_run(prompt, 4);
          if (rows.ok()) {
            EXPECT_TRUE(same_bits(*rows, expected)) << every;
          }
          if (rows.ok()) continue;
          ++failed;
          EXPECT_EQ(rows.status().code(), code) << rows.status().to_string();
          EXPECT_FALSE(rows.status().field().empty());
        }
        EXPECT_GT(faults.faults, 0u) << every;
        faults.set(Fault::kNone, 1);
        auto again = driver.try_run(prompt, 4);
        ASSERT_TRUE(again.ok()) << again.status().to_string();
        EXPECT_TRUE(same_bits(*again, expected));
      }
    }
    EXPECT_GE(failed, 3u);
    EXPECT_GT(driver.model().dense_figures()->load_failures, 0u) << name;
  }
}

}  // namespace
}  // namespace foregate
