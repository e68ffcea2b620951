// What is remembered of routes: of each sequence the experts of its last row, those that a trace of the same steps
// shows.
#include "engine/model/route_memory.h"

#include <gtest/gtest.h>

#include <map>

#include "engine/experts/trace.h"
#include "tests/engine/model/packing.h"

namespace foregate {
namespace {

using namespace packing;

// The experts of the last row of each request in the last step, as a trace is told them.
struct LastRows final : RouteSink {
  explicit LastRows(const ModelConfig& model) : config(model) {}
  void on_routes(const LayerRoutes& routes) override {
    std::map<std::uint64_t, std::vector<ExpertKey>> rows;
    const auto top_k = static_cast<std::size_t>(config.router.top_k);
    for (std::size_t row = 0; row < routes.requests.size(); ++row) {
      std::vector<ExpertKey>& keys = rows[routes.requests[row]];
      keys.clear();
      for (std::size_t i = 0; i < top_k; ++i) keys.push_back({routes.layer, ExpertId{routes.ids[row * top_k + i]}});
    }
    for (const auto& [request, keys] : rows) {
      if (routes.step != step[request]) last[request].clear();
      step[request] = routes.step;
      last[request].insert(last[request].end(), keys.begin(), keys.end());
    }
  }
  const ModelConfig& config;
  std::map<std::uint64_t, std::int64_t> step;
  std::map<std::uint64_t, std::vector<ExpertKey>> last;
};

TEST(RouteMemory, HasTheLastRowOfEachSequence) {
  for (const char* name : {"olmoe-mha-top8", "qwen3-moe-dense-layers"}) {
    const MemoryFiles disk = packed(golden_dir(name), pack_options("none"));
    Driver driver("m",
                  {.isa = "auto", .files = &disk, .experts = ExpertLoading{.store = {.budget_bytes = UINT64_MAX}}});
    Transformer& model = driver.model();
    EXPECT_TRUE(model.resident_experts().empty()) << "nobody asked";
    model.keep_routes();
    LastRows sink(model.config());
    model.set_route_sink(&sink);
    for (int i = 0; i < 3; ++i) driver.add_sequence();
    driver.step({{0, {5, 6, 7}}, {2, {9}}});
    driver.step({{1, {4, 4}}, {2, {11}}});
    const RouteMemory names(model.config());
    for (std::uint64_t request = 0; request < 3; ++request) {
      std::vector<ExpertKey> keys;
      for (const std::int32_t number : model.last_experts(request)) keys.push_back(names.key(number));
      EXPECT_FALSE(keys.empty());
      EXPECT_TRUE(keys == sink.last[request]) << name << " " << request;
    }
    EXPECT_TRUE(model.last_experts(77).empty());
    const auto resident = model.resident_experts();
    ASSERT_EQ(resident.size(), model.store()->table().extents.size());
    for (const std::int32_t number : model.last_experts(2)) {
      EXPECT_EQ(resident[static_cast<std::size_t>(number)] != 0, model.store()->held(names.key(number)));
    }
    model.set_route_sink(nullptr);
  }
}

TEST(RouteMemory, AModelWhoseExpertsAreInMemoryHasNone) {
  if (kEvictAtRelease) GTEST_SKIP() << "all models have experts on disk here";
  Driver driver(golden_dir("olmoe-mha-top8"), {});
  driver.model().keep_routes();
  driver.add_sequence();
  driver.step({{0, {5}}});
  EXPECT_TRUE(driver.model().last_experts(0).empty());
  EXPECT_TRUE(driver.model().resident_experts().empty());
}

}  // namespace
}  // namespace foregate
