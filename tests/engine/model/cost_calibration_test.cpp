// Costs are measured once for a model and a machine, within bounds, kept beside the model, refreshed by what loads
// took; without them everything goes on, and with them no bit changes.
#include "engine/model/cost_calibration.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "engine/model/cost_keeper.h"
#include "tests/engine/io/fault_files.h"
#include "tests/engine/model/packing.h"

namespace foregate {
namespace {

namespace fs = std::filesystem;
using namespace packing;

class Costs : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::remove_all(base_);
    auto out = open_output_directory(dir_);
    ASSERT_TRUE(out.ok());
    ASSERT_TRUE(pack(golden_dir("olmoe-mha-top8"), pack_options("q8_0"), local_files(), **out).ok());
  }
  void TearDown() override {
    fs::permissions(base_, fs::perms::owner_all);
    fs::remove_all(base_);
  }
  DriverOptions with(const std::string& machine, bool costs = true) const {
    ExpertLoading loading{
        .store = {.budget_bytes = UINT64_MAX, .policy = "score"}, .warm = false, .counters_dir = dir_};
    if (costs) loading.costs = CostLoading{.machine = machine, .scratch_bytes = 1 << 20, .read_seconds = 0.01};
    return {.isa = "auto", .threads = 2, .experts = loading};
  }
  std::vector<CostEntry> kept(std::uint64_t weights_id) const {
    const auto entries = load_costs(dir_, weights_id);
    EXPECT_TRUE(entries.ok()) << entries.status().to_string();
    return entries.ok() ? entries.value() : std::vector<CostEntry>();
  }
  std::uint64_t weights_id() const {
    auto model = PackedModel::open(local_files(), dir_);
    return model->index().weights_id();
  }

  const fs::path base_ = fs::path(::testing::TempDir()) / ("foregate_costs_" + std::to_string(::getpid()));
  const std::string dir_ = (base_ / "m").string();
  const std::vector<Token> prompt_ = {1, 5, 9, 33, 60, 2, 7};
};

TEST_F(Costs, AreMeasuredOnceForEachMachineAndRefreshed) {
  const std::uint64_t id = weights_id();
  std::vector<std::vector<float>> expected;
  {
    Driver off(dir_, with("here", false));
    EXPECT_EQ(off.model().costs(), nullptr);
    EXPECT_EQ(off.model().store()->link_times().load, 0.0) << "before the first loads nobody knows";
    expected = off.run(prompt_, 3);
  }
  EXPECT_FALSE(fs::exists(dir_ + "/expert-costs.bin"));
  CostModel first;
  {
    Driver driver(dir_, with("here"));
    EXPECT_TRUE(driver.model().costs_measured());
    first = *driver.model().costs();
    EXPECT_TRUE(first.check().ok());
    EXPECT_EQ(first.observed_factor, 0.0);
    const LinkTimes times = driver.model().store()->link_times();
    EXPECT_EQ(times.load, first.load_seconds(1, driver.model().store()->table().extents[0].bytes));
    EXPECT_GT(times.idle, 0.0);
    EXPECT_GE(times.layer, times.idle);
    const auto rows = driver.run(prompt_, 3);
    ASSERT_EQ(rows.size(), expected.size());
    for (std::size_t i = 0; i < rows.size(); ++i) {
      EXPECT_EQ(std::memcmp(rows[i].data(), expected[i].data(), rows[i].size() * sizeof(float)), 0);
    }
    EXPECT_GT(driver.model().costs()->observed_factor, 0.0) << "loads were observed";
    ASSERT_EQ(kept(id).size(), 1u);
    EXPECT_EQ(kept(id)[0].costs.observed_factor, 0.0) << "kept when measured,";
  }
  EXPECT_GT(kept(id)[0].costs.observed_factor, 0.0) << "and again at the end";
  {
    Driver again(dir_, with("here"));
    EXPECT_FALSE(again.model().costs_measured());
    EXPECT_EQ(again.model().costs()->memory_bytes_per_second, first.memory_bytes_per_second);
    EXPECT_GT(again.model().costs()->observed_factor, 0.0);
  }
  {
    Driver elsewhere(dir_, with("elsewhere"));
    EXPECT_TRUE(elsewhere.model().costs_measured());
  }
  EXPECT_EQ(kept(id).size(), 2u);
  EXPECT_EQ(kept(id)[0].machine, "elsewhere");
}

TEST_F(Costs, ADamagedFileIsMeasuredAnew) {
  { Driver driver(dir_, with("here")); }
  fs::resize_file(dir_ + "/expert-costs.bin", fs::file_size(dir_ + "/expert-costs.bin") - 5);
  Driver driver(dir_, with("here"));
  EXPECT_TRUE(driver.model().costs_measured());
  EXPECT_EQ(kept(weights_id()).size(), 1u);
}

// Another process writes to the directory: as a folder that is read-only, it cannot be written.
TEST_F(Costs, GoOnWhereTheyCannotBeKept) {
  auto held = open_output_directory(dir_);
  ASSERT_TRUE(held.ok());
  {
    Driver driver(dir_, with("here"));
    EXPECT_TRUE(driver.model().costs_measured());
    EXPECT_EQ(driver.run(prompt_, 7).size(), prompt_.size());
  }
  EXPECT_FALSE(fs::exists(dir_ + "/expert-costs.bin"));
}

TEST_F(Costs, ReadsStayWithinTheirTimeAndFailWithoutHarm) {
  FaultFiles faults{local_files()};
  ExpertLoading loading = *with("here").experts;
  loading.counters_dir.clear();
  DriverOptions options = with("here");
  options.experts = loading;
  options.files = &faults;
  {
    Driver driver(dir_, options);
    ASSERT_NE(driver.model().costs(), nullptr);
    const CostModel& costs = *driver.model().costs();
    EXPECT_EQ(costs.depth, kExpertReadDepth);
    const auto own = [](const ReadCost& read) { return read.depth == kExpertReadDepth; };
    EXPECT_TRUE(std::any_of(costs.reads.begin(), costs.reads.end(), own)) << "the store's own depth is in the table";
    EXPECT_LE(costs.reads.back().bytes, driver.model().store()->table().extents[0].bytes);
    ASSERT_EQ(costs.kernels.size(), 1u);
    const ExpertExtent& extent = driver.model().store()->table().extents[0];
    EXPECT_EQ(costs.kernels[0].format, format_name(extent.shape.gate.format));
    EXPECT_EQ(costs.kernels[0].expert_bytes, extent.bytes);
    EXPECT_EQ(costs.kernels[0].points.size(), 7u);
    EXPECT_EQ(costs.kernels[0].points.back().rows, 64);
    EXPECT_GT(faults.reads, 0u);
  }
  faults.suffix = ".fgw";
  faults.set(Fault::kSlow, 1);
  {
    Driver slow(dir_, options);
    EXPECT_NE(slow.model().costs(), nullptr);
  }
}

TEST_F(Costs, OfADiskThatFailsThereAreNone) {
  FaultFiles faults{local_files()};
  auto model = PackedModel::open(faults, dir_);
  ASSERT_TRUE(model.ok());
  ExpertTable table;
  table.experts = {1};
  for (const PackedUnit& unit : model->index().units) {
    if (unit.kind != PackedKind::kExpert || !table.extents.empty()) continue;
    ExpertExtent& extent = table.extents.emplace_back();
    extent.file = &model->file(unit);
    extent.offset = unit.offset;
    extent.bytes = unit.bytes;
  }
  const Backend made = backend();
  const auto stream = made.device->create_stream();
  faults.set(Fault::kIoError, 1);
  EXPECT_EQ(calibrate_costs(table, *made.device, made.ops, *stream, {.read_seconds = 0.01}).status().code(),
            Code::kUnavailable);
  table.extents[0].file = nullptr;
  EXPECT_EQ(calibrate_costs(table, *made.device, made.ops, *stream, {}).status().code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace foregate
