// Experts in a store: the same logits, bit for bit, at every budget and by every policy, while counters show that
// experts came and went; and a disk that fails ends the step with an error, after which the same bits come again.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/engine/io/fault_files.h"
#include "tests/engine/model/packing.h"

namespace foregate {
namespace {

namespace fs = std::filesystem;
using namespace packing;
using Rows = std::vector<std::vector<float>>;

constexpr const char* kSparse[] = {"mixtral-gqa-top2",       "mixtral-window-top1-tied", "olmoe-mha-top8",
                                   "qwen2-moe-mixed-layers", "qwen2-moe-shared-top4",    "qwen3-moe-dense-layers",
                                   "smallthinker-softmax",   "pregated-top2-norm"};
constexpr const char* kData = "m/model-00001-of-00001.fgw";

std::vector<Token> tokens(std::size_t count, std::uint32_t seed = 1) {
  std::vector<Token> all;
  for (std::size_t i = 0; i < count; ++i) {
    seed = seed * 1664525u + 1013904223u;
    all.push_back(static_cast<Token>(seed >> 24) % 96);
  }
  return all;
}

bool same_bits(const Rows& a, const Rows& b) {
  if (a.size() != b.size() || a.empty()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i].size() != b[i].size()) return false;
    if (std::memcmp(a[i].data(), b[i].data(), a[i].size() * sizeof(float)) != 0) return false;
  }
  return true;
}

struct Budgets {
  std::uint64_t least = 0;
  std::uint64_t all = 0;
};

ExpertLoading store_of(std::uint64_t budget, const char* policy = "lru", bool evict = false) {
  return {.store = {.budget_bytes = budget, .policy = policy, .evict_at_release = evict}, .warm = false};
}

// As the refusal of one byte says them.
Budgets budgets_of(const FileSystem& files, const std::string& dir) {
  LoadOptions options = load_options();
  options.experts = store_of(1);
  const Loaded refused = load(files, dir, options);
  EXPECT_EQ(refused.model.status().code(), Code::kInvalidArgument);
  EXPECT_EQ(refused.model.status().field(), "expert_memory");
  const std::string text = refused.model.status().message();
  const auto number = [&](const std::string& mark) { return std::stoull(text.substr(text.find(mark) + mark.size())); };
  return {number("at least "), number("bytes of the ")};
}

DriverOptions with_store(const FileSystem& files, const ExpertLoading& experts, int threads = 1) {
  return {.isa = "auto", .threads = threads, .files = &files, .experts = experts};
}
DriverOptions resident(const FileSystem& files) {
  return {.isa = "auto", .files = &files};
}

TEST(Offload, GivesTheBitsOfResidentExpertsAtEveryBudget) {
  const std::vector<Token> prompt = tokens(24);
  for (const char* name : kSparse) {
    const MemoryFiles disk = packed(golden_dir(name), pack_options("none"));
    const Budgets budgets = budgets_of(disk, "m");
    Driver whole("m", resident(disk));
    const Rows expected = whole.run(prompt, 5);
    for (const std::uint64_t budget : {budgets.least, (budgets.least + budgets.all) / 2, budgets.all}) {
      for (const char* policy : {"lru", "lfu", "score"}) {
        for (const bool evict : {false, true}) {
          for (const int threads : {1, 2}) {
            SCOPED_TRACE(std::string(name) + " " + std::to_string(budget) + " " + policy);
            Driver driver("m", with_store(disk, store_of(budget, policy, evict), threads));
            for (const std::size_t chunk : {1, 7, 24}) EXPECT_TRUE(same_bits(driver.run(prompt, chunk), expected));
            const StoreStats stats = driver.model().store()->stats();
            EXPECT_LE(stats.slot_bytes, budget);
            EXPECT_GT(stats.transfer.loads, 0u);
            // Certain routes and guesses load ahead; a prompt may read an expert that it does not use.
            const std::uint64_t loads = stats.misses - stats.late + stats.certain_hints;
            EXPECT_GE(stats.transfer.loads, loads);
            EXPECT_LE(stats.transfer.loads, loads + stats.ahead_wasted + stats.hints);
            EXPECT_EQ(stats.ahead, stats.ahead_useful + stats.ahead_wasted);
            EXPECT_EQ(stats.transfer.retries + stats.transfer.failures, 0u);
            EXPECT_EQ(stats.evictions > 0, evict || budget < budgets.all);
            if (evict) {
              EXPECT_LE(stats.hits, stats.certain_useful + stats.hints);
            }
            if (!evict && budget == budgets.all) {
              EXPECT_LE(stats.misses, stats.slots) << "each is read once";
            }
            if (!evict && budget == budgets.all) {
              EXPECT_GT(stats.hits, stats.misses);
            }
          }
        }
      }
    }
  }
}

// Several sequences in a step, prompts beside decodes.
TEST(Offload, GivesTheBitsOfResidentExpertsInABatch) {
  for (const char* name : kSparse) {
    const MemoryFiles disk = packed(golden_dir(name), pack_options("none"));
    Driver whole("m", resident(disk));
    const Budgets budgets = budgets_of(disk, "m");
    Driver stored("m", with_store(disk, store_of((budgets.least + budgets.all) / 2, "score"), 2));
    Rows rows[2];
    for (Driver* driver : {&whole, &stored}) {
      for (int i = 0; i < 4; ++i) driver->add_sequence();
      Rows& all = rows[driver == &stored ? 1 : 0];
      for (std::uint32_t step = 0; step < 8; ++step) {
        std::vector<Driver::Part> parts;
        for (int s = 0; s < 4; ++s) {
          const std::size_t width = (step + static_cast<std::uint32_t>(s)) % 5 == 0 ? 6 : 1;
          parts.push_back({s, tokens(width, step * 31 + static_cast<std::uint32_t>(s))});
        }
        for (auto& row : driver->step(parts)) all.push_back(std::move(row));
      }
    }
    EXPECT_TRUE(same_bits(rows[0], rows[1])) << name;
    EXPECT_GT(stored.model().store()->stats().evictions, 0u) << name;
  }
}

// From a pack, and made when they are wanted from the tensors of the checkpoint.
TEST(Offload, ExpertsOfEightBitFloatsToo) {
  const std::vector<Token> prompt = tokens(24);
  for (const char* name : {"fp8-qwen3-moe-tiles", "float-olmoe-by-row", "float-mixtral-by-matrix"}) {
    const std::string original = golden_dir(std::string("quantized/") + name);
    const MemoryFiles disk = packed(original, pack_options("none"));
    Driver whole("m", resident(disk));
    const Rows expected = whole.run(prompt, 5);
    const ExpertLoading store = store_of(budgets_of(disk, "m").least, "score", true);  // three experts fit else
    Driver from_pack("m", with_store(disk, store, 2));
    Driver from_checkpoint(original, with_store(local_files(), store, 2));
    for (Driver* driver : {&from_pack, &from_checkpoint}) {
      for (const std::size_t chunk : {1, 7, 24}) EXPECT_TRUE(same_bits(driver->run(prompt, chunk), expected)) << name;
      EXPECT_GT(driver->model().store()->stats().transfer.loads, 0u) << name;
      EXPECT_GT(driver->model().store()->stats().evictions, 0u) << name;
    }
  }
}

TEST(Offload, QuantizedExpertsToo) {
  const std::vector<Token> prompt = tokens(12);
  for (const char* quantization : {"q8_0", "q4_0", "q4_k"}) {
    const MemoryFiles disk = packed(demo_dir(), pack_options(quantization, 200'000));
    Driver whole("m", resident(disk));
    const Rows expected = whole.run(prompt, 5);
    const Budgets budgets = budgets_of(disk, "m");
    for (const std::uint64_t budget : {budgets.least, budgets.all / 2}) {
      Driver driver("m", with_store(disk, store_of(budget, "score"), 2));
      EXPECT_TRUE(same_bits(driver.run(prompt, 3), expected)) << quantization;
      EXPECT_GT(driver.model().store()->stats().misses, 0u);
      if (budget == budgets.least) {
        EXPECT_GT(driver.model().store()->stats().evictions, 0u);
      }
    }
  }
}

// A step that met a bad disk fails by name, and the model then gives what it always gave.
class OffloadFaults : public ::testing::Test {
 protected:
  void load(std::uint64_t budget_share) {
    const Budgets budgets = budgets_of(faults_, "m");
    const std::uint64_t budget = budget_share == 0 ? budgets.least : budgets.all * budget_share / 4;
    driver_ = std::make_unique<Driver>("m", with_store(faults_, store_of(budget, "lru", true)));
    expected_ = driver_->run(prompt_, 4);
    faults_.set(Fault::kNone, 1);
  }
  void expect_named(const Status& status, Code code) {
    EXPECT_EQ(status.code(), code) << status.to_string();
    EXPECT_EQ(status.message().find(std::string(kData) + ": expert "), 0u) << status.to_string();
    EXPECT_EQ(status.field().find("expert "), 0u) << status.field();
  }
  void expect_same() {
    auto rows = driver_->try_run(prompt_, 4);
    ASSERT_TRUE(rows.ok()) << rows.status().to_string();
    EXPECT_TRUE(same_bits(*rows, expected_));
  }

  const std::vector<Token> prompt_ = tokens(12);
  MemoryFiles disk_ = packed(golden_dir("qwen3-moe-top4-norm"), pack_options("none"));
  FaultFiles faults_{disk_};
  std::unique_ptr<Driver> driver_;
  Rows expected_;
};

TEST_F(OffloadFaults, EveryNthReadGoesWrong) {
  load(2);
  ASSERT_TRUE(driver_->try_run(prompt_, 4).ok());
  const std::uint64_t reads = faults_.reads;
  EXPECT_GT(reads, 20u);
  const std::pair<Fault, Code> kinds[] = {{Fault::kIoError, Code::kUnavailable},
                                          {Fault::kShortFile, Code::kDataLoss},
                                          {Fault::kFlippedBit, Code::kDataLoss}};
  for (const auto& [fault, code] : kinds) {
    for (std::uint64_t every = 1; every <= reads; every = every * 2 + 1) {
      faults_.set(fault, every);
      for (std::uint64_t runs = 0; faults_.faults == 0 && runs < every; ++runs) {
        auto rows = driver_->try_run(prompt_, 4);
        if (every == 1) {
          EXPECT_FALSE(rows.ok());
        }
        if (rows.ok()) {
          EXPECT_TRUE(same_bits(*rows, expected_)) << every;
        }
        if (!rows.ok()) expect_named(rows.status(), code);
      }
      EXPECT_GT(faults_.faults, 0u) << every;
      faults_.set(Fault::kNone, 1);
      expect_same();
    }
  }
  EXPECT_GT(driver_->model().store()->stats().transfer.retries, 0u);
}

// From any read on, the disk is gone.
TEST_F(OffloadFaults, TheDiskFailsFromAnyReadOn) {
  load(0);
  ASSERT_TRUE(driver_->try_run(prompt_, 4).ok());
  const std::uint64_t reads = faults_.reads;
  for (std::uint64_t n = 0; n < reads; n += 3) {
    faults_.set(Fault::kIoError, 1, n);
    auto rows = driver_->try_run(prompt_, 4);
    ASSERT_FALSE(rows.ok()) << n << " of " << reads;
    expect_named(rows.status(), Code::kUnavailable);
    faults_.set(Fault::kNone, 1);
    expect_same();
  }
}

TEST_F(OffloadFaults, ASlowDiskChangesNothing) {
  load(0);
  faults_.set(Fault::kSlow, 3);
  expect_same();
  EXPECT_GT(faults_.faults, 0u);
}

TEST_F(OffloadFaults, ABitOfAnExpertIsNotTheWritersForLong) {
  auto index = PackedModel::open(disk_, "m");
  ASSERT_TRUE(index.ok());
  for (const std::uint64_t share : {0, 2, 4}) {
    load(share);
    int used = 0;
    for (const PackedUnit& unit : index->index().units) {
      if (unit.kind != PackedKind::kExpert) continue;
      char& byte = disk_.contents[kData][unit.offset + unit.bytes / 3];
      byte ^= 16;
      auto rows = driver_->try_run(prompt_, 4);
      if (!rows.ok()) {
        expect_named(rows.status(), Code::kDataLoss);
        EXPECT_EQ(rows.status().field(), packed_unit_text(unit));
        ++used;
      } else {
        EXPECT_TRUE(same_bits(*rows, expected_));
      }
      byte ^= 16;
      expect_same();
    }
    EXPECT_GT(used, 4);
  }
}

TEST_F(OffloadFaults, AFileThatWasCut) {
  load(2);
  disk_.shrink_to = disk_.contents[kData].size() / 4;
  auto rows = driver_->try_run(prompt_, 4);
  ASSERT_FALSE(rows.ok());
  expect_named(rows.status(), Code::kDataLoss);
  disk_.shrink_to = UINT64_MAX;
  expect_same();
}

// The same on a real disk, past the page cache where it allows that.
TEST(OffloadDisk, DamageAndRepairInPlace) {
  const fs::path base = fs::path(::testing::TempDir()) / ("foregate_offload_" + std::to_string(::getpid()));
  fs::remove_all(base);
  const std::string dir = (base / "m").string();
  {
    auto out = open_output_directory(dir);
    ASSERT_TRUE(out.ok());
    ASSERT_TRUE(pack(golden_dir("olmoe-mha-top8"), pack_options("none"), local_files(), **out).ok());
  }
  const std::string data = dir + "/model-00001-of-00001.fgw";
  std::stringstream good;
  good << std::ifstream(data, std::ios::binary).rdbuf();
  const Budgets budgets = budgets_of(local_files(), dir);
  Driver whole(dir, {.isa = "auto"});
  Driver driver(dir, with_store(local_files(), store_of(budgets.all * 3 / 4, "score", true)));
  const std::vector<Token> prompt = tokens(10);
  const Rows expected = whole.run(prompt, 4);
  EXPECT_TRUE(same_bits(driver.run(prompt, 4), expected));
  for (const bool cut : {true, false}) {
    std::string bad = good.str();
    if (cut) bad.resize(bad.size() / 4);
    for (std::size_t i = kPackedPage; i < bad.size(); i += 1024) bad[i] ^= 1;
    std::ofstream(data, std::ios::binary | std::ios::trunc) << bad;
    auto rows = driver.try_run(prompt, 4);
    ASSERT_FALSE(rows.ok());
    EXPECT_EQ(rows.status().code(), Code::kDataLoss);
    EXPECT_EQ(rows.status().message().find(data + ": expert "), 0u) << rows.status().to_string();
    std::ofstream(data, std::ios::binary | std::ios::trunc) << good.str();
    auto again = driver.try_run(prompt, 4);
    ASSERT_TRUE(again.ok()) << again.status().to_string();
    EXPECT_TRUE(same_bits(*again, expected));
  }
  fs::remove_all(base);
}

TEST(Offload, RefusesWhatHasNoExperts) {
  const MemoryFiles disk = packed(golden_dir("qwen3-dense-tied"), pack_options("none"));
  LoadOptions options = load_options();
  options.experts = store_of(1 << 20);
  EXPECT_EQ(load(disk, "m", options).model.status().field(), "expert_memory");
  EXPECT_EQ(load(local_files(), golden_dir("mixtral-gqa-top2"), options).model.status().field(), "expert_memory");
}

}  // namespace
}  // namespace foregate
