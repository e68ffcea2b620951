// Architectures whose routers read something earlier than their layer: what is announced is what the layer uses, loads
// begin ahead of it, and no mode and no budget changes a bit.
#include <gtest/gtest.h>

#include "engine/model/routing.h"
#include "tests/engine/model/decode_rows.h"

namespace foregate {
namespace {

using packing::decode;
using packing::Decoded;
using packing::same_bits;

class CertainRoutes : public ::testing::TestWithParam<const char*> {
 protected:
  const MemoryFiles disk_ = packing::packed(golden_dir(GetParam()), packing::pack_options("none"));
};

// Nothing is stale: less than all of them would mean that a layer was routed by something else than was announced.
TEST_P(CertainRoutes, TheControlIsAlwaysRight) {
  const Decoded run = decode(disk_, LookaheadMode::kShadow, 1);
  EXPECT_GT(run.figures.certain, 200u);
  EXPECT_EQ(run.figures.certain_right, run.figures.certain);
  EXPECT_EQ(run.figures.certain_hints, 0u);
  EXPECT_EQ(run.figures.guesses, 0u) << "nothing is left to guess";
}

TEST_P(CertainRoutes, NoModeAndNoBudgetChangesABit) {
  for (const double share : {0.5, 0.75, 1.0}) {
    const Decoded off = decode(disk_, LookaheadMode::kOff, 1, share);
    EXPECT_EQ(off.figures.certain, 0u);
    for (const LookaheadMode mode : {LookaheadMode::kShadow, LookaheadMode::kAuto, LookaheadMode::kAlways}) {
      SCOPED_TRACE(std::string(lookahead_mode_name(mode)) + " " + std::to_string(share));
      const Decoded on = decode(disk_, mode, 1, share);
      EXPECT_TRUE(same_bits(on, off));
      EXPECT_EQ(on.figures.certain_right, on.figures.certain);
      if (mode == LookaheadMode::kShadow) continue;
      EXPECT_GT(on.figures.certain_hints, 0u);
      EXPECT_EQ(on.figures.certain_hints, on.figures.certain_useful + on.figures.certain_late);
      EXPECT_EQ(on.figures.evictions > 0, share < 1.0);
    }
  }
}

// Layers that a hint reaches have no demand left to read: only what no layer announces is read when it is needed.
TEST_P(CertainRoutes, OnlyTheFirstLayerReadsOnDemand) {
  const Decoded on = decode(disk_, LookaheadMode::kAuto, 1, 0.75);
  const std::uint64_t demanded = on.figures.loads - on.figures.certain_hints;
  auto config = read_model_config(local_files(), golden_dir(GetParam()));
  ASSERT_TRUE(config.ok());
  const bool all = router_source(*config, LayerId{0}) == RouterSource::kLayerInput || !config->layers[0].sparse;
  if (all) {
    EXPECT_EQ(demanded, 0u);
  }
  EXPECT_LT(demanded, on.figures.loads);
  EXPECT_EQ(on.figures.misses, demanded + on.figures.certain_late);
}

INSTANTIATE_TEST_SUITE_P(Golden, CertainRoutes,
                         ::testing::Values("smallthinker-sigmoid-layouts", "smallthinker-softmax", "pregated-top2-norm",
                                           "pregated-dense-layers"),
                         [](const auto& test) {
                           std::string name = test.param;
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name;
                         });

TEST(RouterSource, ASourceForEachLayer) {
  ModelConfig config;
  config.arch = &kArchQwen3Moe;
  EXPECT_EQ(router_source(config, LayerId{3}), RouterSource::kFfnInput);
  config.arch = &kArchSmallThinker;
  EXPECT_EQ(router_source(config, LayerId{0}), RouterSource::kLayerInput);
  config.arch = &kArchPreGated;
  EXPECT_EQ(router_source(config, LayerId{0}), RouterSource::kFfnInput);
  EXPECT_EQ(router_source(config, LayerId{1}), RouterSource::kPreviousFfnInput);
}

}  // namespace
}  // namespace foregate
