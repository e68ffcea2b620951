// The routing of real models as a trace: it changes no bit of what is computed, and what a replay of it counts is what
// the store counted, prompts included, begun cold and warm, by every policy.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "engine/experts/replay.h"
#include "engine/experts/trace_reader.h"
#include "engine/experts/trace_writer.h"
#include "engine/model/route_tap.h"
#include "tests/engine/model/packing.h"

namespace foregate {
namespace {

using namespace packing;
using Rows = std::vector<std::vector<float>>;

std::vector<Token> tokens(std::size_t count, std::uint32_t seed) {
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
    if (a[i].size() != b[i].size() || std::memcmp(a[i].data(), b[i].data(), a[i].size() * sizeof(float)) != 0)
      return false;
  }
  return true;
}

// Two prompts beside decodes, then decodes alone: 24 steps.
Rows run(Driver& driver, std::size_t prompt) {
  driver.reset();
  Rows rows;
  for (int i = 0; i < 2; ++i) driver.add_sequence();
  for (std::uint32_t step = 0; step < 24; ++step) {
    std::vector<Driver::Part> parts;
    if (step % 12 != 0) parts.push_back({0, tokens(1, step)});
    parts.push_back({step % 12 == 0 ? 0 : 1, tokens(step % 12 < 2 ? prompt : 1, 100 + step)});
    for (auto& row : driver.step(parts)) rows.push_back(std::move(row));
  }
  return rows;
}

struct Trace {
  MemoryFiles files;
  MemoryOutput dir{files, "t"};
  std::unique_ptr<TraceWriter> writer;

  void start(Driver& driver, const ExpertStore* store) {
    const TraceInfo info = trace_info("model", driver.model().config(), driver.model().weights());
    EXPECT_EQ(info.slots, store != nullptr ? store->stats().slots : 0);
    auto made = TraceWriter::create(*dir.open("trace"), info);
    ASSERT_TRUE(made.ok()) << made.status().to_string();
    writer = std::make_unique<TraceWriter>(std::move(made).value());
    driver.model().set_route_sink(writer.get());
  }
  std::vector<TraceStep> steps(TraceInfo& info) {
    std::vector<TraceStep> all;
    auto file = files.open("t/trace");
    auto reader = TraceReader::open(**file);
    EXPECT_TRUE(reader.ok()) << reader.status().to_string();
    info = reader->info();
    for (TraceStep step; *reader->next(step);) all.push_back(step);
    return all;
  }
};

struct Counted {
  std::uint64_t hits = 0, misses = 0;
};

Counted counted_in(const std::vector<TraceStep>& steps) {
  Counted counted;
  for (const TraceStep& step : steps) {
    for (const TraceLayer& layer : step.layers) {
      DistinctExperts distinct;
      find_distinct(layer.ids, distinct);
      for (const std::int32_t expert : distinct.experts) {
        const auto at = std::find(layer.ids.begin(), layer.ids.end(), expert) - layer.ids.begin();
        ++(layer.resident[static_cast<std::size_t>(at)] != 0 ? counted.hits : counted.misses);
      }
    }
  }
  return counted;
}

ReplayFigures replayed(const TraceInfo& info, const std::vector<TraceStep>& steps, const std::string& policy,
                       std::uint64_t budget) {
  FutureUses future;
  for (const TraceStep& step : steps) add_uses(step, future);
  auto replay = Replay::create(info, {.policy = policy, .budget_bytes = budget, .future = &future});
  EXPECT_TRUE(replay.ok()) << replay.status().to_string();
  for (const TraceStep& step : steps) replay->run(step);
  return replay->figures();
}

std::uint64_t expert_bytes(const MemoryFiles& disk) {
  std::uint64_t bytes = 0;
  auto model = PackedModel::open(disk, "m");
  for (const PackedUnit& unit : model->index().units) bytes += unit.kind == PackedKind::kExpert ? unit.bytes : 0;
  return bytes;
}

struct Case {
  std::string dir;
  std::size_t prompt;          // rows; of the demo model more than the slots hold experts of, too
  std::vector<double> shares;  // of all experts
};
std::vector<Case> cases() {
  std::vector<Case> all = {{demo_dir(), 5, {0.2, 0.5, 1.0}}, {demo_dir(), 40, {0.12, 0.4}}};
  for (const char* name : {"mixtral-gqa-top2", "olmoe-mha-top8", "qwen2-moe-mixed-layers", "qwen3-moe-top4-norm",
                           "pregated-top2-norm", "smallthinker-sigmoid-layouts"}) {
    all.push_back({golden_dir(name), 3, {0.6, 1.0}});
  }
  return all;
}

TEST(RouteTrace, AReplayCountsWhatTheStoreCounted) {
  std::uint64_t ahead = 0;
  for (const Case& one : cases()) {
    const MemoryFiles disk = packed(one.dir, pack_options("none"));
    Driver whole("m", {.isa = "auto", .files = &disk});
    const Rows expected = run(whole, one.prompt);
    for (const char* policy : {"lru", "lfu", "score", "auto"}) {
      for (const double share : one.shares) {
        for (const bool warm : {false, true}) {
          SCOPED_TRACE(one.dir + " " + policy + " " + std::to_string(share) + (warm ? " warm" : " cold"));
          const std::uint64_t budget = static_cast<std::uint64_t>(share * static_cast<double>(expert_bytes(disk)));
          const ExpertLoading loading{.store = {.budget_bytes = budget, .policy = policy}, .warm = warm};
          Driver driver("m", {.isa = "auto", .files = &disk, .experts = loading});
          driver.model().set_lookahead(nullptr);
          Trace trace;
          trace.start(driver, driver.model().store());
          EXPECT_TRUE(same_bits(run(driver, one.prompt), expected));
          ASSERT_TRUE(trace.writer->finish().ok());
          TraceInfo info;
          const auto steps = trace.steps(info);
          EXPECT_EQ(steps.size(), 24u);
          EXPECT_EQ(info.resident.size(), warm ? info.slots : 0u);
          const StoreStats stats = driver.model().store()->stats();
          const ReplayFigures figures = replayed(info, steps, policy, budget);
          EXPECT_EQ(figures.hits, stats.hits);
          EXPECT_EQ(figures.misses, stats.misses);
          EXPECT_EQ(figures.evictions, stats.evictions);
          EXPECT_EQ(figures.slots, stats.slots);
          EXPECT_EQ(figures.ahead, stats.ahead);
          EXPECT_EQ(figures.ahead_wasted, stats.ahead_wasted);
          ahead += stats.ahead_useful;
          const std::uint64_t read = stats.transfer.bytes - (warm ? stats.slot_bytes : 0);
          EXPECT_GE(read, figures.missed_bytes) << "and what was read ahead in vain";
          EXPECT_LE(read, figures.missed_bytes + stats.ahead_wasted * stats.slot_bytes / stats.slots);
          EXPECT_EQ(stats.hits > 0, share > 0.12 || warm || std::string(policy) != "lru");
          if (share < 1) {
            EXPECT_GT(stats.evictions, 0u);
          }
          const Counted told = counted_in(steps);
          EXPECT_EQ(told.hits, stats.hits) << "the flags in the trace";
          EXPECT_EQ(told.misses, stats.misses);
          EXPECT_GE(replayed(info, steps, "belady", budget).hits, stats.hits);
        }
      }
    }
  }
  EXPECT_GT(ahead, 100u) << "prompts read ahead";
}

// What every replay of such a trace starts from: the same routing as with a store.
TEST(RouteTrace, OfResidentExpertsIsTheSame) {
  for (const Case& one : cases()) {
    const MemoryFiles disk = packed(one.dir, pack_options("none"));
    const ExpertLoading half{.store = {.budget_bytes = expert_bytes(disk) * 6 / 10, .policy = "score"}, .warm = false};
    Driver plain("m", {.isa = "auto", .files = &disk});
    Driver whole("m", {.isa = "auto", .files = &disk});
    Driver stored("m", {.isa = "auto", .files = &disk, .experts = half});
    const Rows expected = run(plain, one.prompt);
    Trace traces[2];
    traces[0].start(whole, whole.model().store());
    traces[1].start(stored, stored.model().store());
    EXPECT_TRUE(same_bits(run(whole, one.prompt), expected)) << one.dir;
    EXPECT_TRUE(same_bits(run(stored, one.prompt), expected)) << one.dir;
    TraceInfo infos[2];
    std::vector<TraceStep> steps[2];
    for (int i = 0; i < 2; ++i) {
      ASSERT_TRUE(traces[i].writer->finish().ok());
      steps[i] = traces[i].steps(infos[i]);
    }
    EXPECT_EQ(infos[0].experts, infos[1].experts);
    EXPECT_EQ(infos[0].expert_bytes, infos[1].expert_bytes) << one.dir;
    ASSERT_EQ(steps[0].size(), steps[1].size());
    std::uint64_t rows = 0;
    for (std::size_t i = 0; i < steps[0].size(); ++i) {
      EXPECT_EQ(steps[0][i].phase, steps[1][i].phase);
      EXPECT_EQ(steps[0][i].requests, steps[1][i].requests);
      EXPECT_EQ(steps[0][i].positions, steps[1][i].positions);
      ASSERT_EQ(steps[0][i].layers.size(), steps[1][i].layers.size());
      for (std::size_t l = 0; l < steps[0][i].layers.size(); ++l) {
        EXPECT_EQ(steps[0][i].layers[l].ids, steps[1][i].layers[l].ids);
        EXPECT_EQ(steps[0][i].layers[l].weights, steps[1][i].layers[l].weights);
        rows += steps[0][i].requests.size();
      }
    }
    const auto sparse = std::count_if(infos[0].experts.begin(), infos[0].experts.end(), [](int n) { return n > 0; });
    EXPECT_EQ(rows, (expected.size()) * static_cast<std::size_t>(sparse));
    whole.model().set_route_sink(nullptr);
    const auto bytes = traces[0].writer->bytes();
    EXPECT_TRUE(same_bits(run(whole, one.prompt), expected));
    EXPECT_EQ(traces[0].writer->bytes(), bytes) << "nobody is told any more";
  }
}

}  // namespace
}  // namespace foregate
