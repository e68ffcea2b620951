// Plans by rule, their text, and every way in which a text can be no plan.
#include "engine/placement/plan.h"

#include <gtest/gtest.h>

#include "engine/placement/plan_file.h"

namespace foregate {
namespace {

TEST(PlacementPlan, LinearAndRoundRobinSpreadEvenly) {
  const std::vector<std::int32_t> experts = {8, 0, 6};
  auto linear = PlacementPlan::linear(4, experts);
  ASSERT_TRUE(linear.ok());
  EXPECT_EQ(linear->homes_of(LayerId{0}), (LayerHomes{0, 0, 1, 1, 2, 2, 3, 3}));
  EXPECT_EQ(linear->experts(LayerId{1}), 0);
  EXPECT_EQ(linear->homes_of(LayerId{2}), (LayerHomes{0, 0, 1, 2, 2, 3}));
  auto robin = PlacementPlan::round_robin(4, experts);
  ASSERT_TRUE(robin.ok());
  EXPECT_EQ(robin->homes_of(LayerId{2}), (LayerHomes{0, 1, 2, 3, 0, 1}));
  EXPECT_EQ(robin->held(RankId{1}, LayerId{2}), (std::vector<std::int32_t>{1, 5}));
  EXPECT_FALSE(PlacementPlan::linear(0, experts).ok());
  EXPECT_FALSE(PlacementPlan::round_robin(kMaxRanks + 1, experts).ok());
}

TEST(PlacementPlan, CopiesAreHeldBesideTheHome) {
  auto plan = PlacementPlan::create(2, {{0, 1}}, {{LayerId{0}, ExpertId{0}, RankId{1}}});
  ASSERT_TRUE(plan.ok());
  EXPECT_TRUE(plan->holds(RankId{0}, LayerId{0}, ExpertId{0}));
  EXPECT_TRUE(plan->holds(RankId{1}, LayerId{0}, ExpertId{0}));
  EXPECT_FALSE(plan->holds(RankId{0}, LayerId{0}, ExpertId{1}));
  EXPECT_EQ(plan->held(RankId{1}, LayerId{0}), (std::vector<std::int32_t>{0, 1}));
}

TEST(PlacementPlan, RefusesWhatIsNoPlan) {
  EXPECT_EQ(PlacementPlan::create(2, {{0, 2}}).status().field(), "layers");
  const ExpertCopy home{LayerId{0}, ExpertId{0}, RankId{0}}, other{LayerId{0}, ExpertId{0}, RankId{1}};
  EXPECT_EQ(PlacementPlan::create(2, {{0, 1}}, {home}).status().field(), "copies");
  EXPECT_EQ(PlacementPlan::create(2, {{0, 1}}, {other, other}).status().field(), "copies");
  EXPECT_FALSE(PlacementPlan::create(2, {{0, 1}}, {{LayerId{1}, ExpertId{0}, RankId{0}}}).ok());
  EXPECT_FALSE(PlacementPlan::create(2, {{0, 1}}, {{LayerId{0}, ExpertId{2}, RankId{0}}}).ok());
  EXPECT_FALSE(PlacementPlan::create(2, {{0, 1}}, {{LayerId{0}, ExpertId{0}, RankId{2}}}).ok());
}

TEST(PlanFile, ReadsWhatItWrote) {
  auto plan = PlacementPlan::create(3, {{}, {0, 2, 1, 1, 0}, {2, 2}},
                                    {{LayerId{1}, ExpertId{3}, RankId{0}}, {LayerId{2}, ExpertId{0}, RankId{1}}});
  ASSERT_TRUE(plan.ok());
  const std::string text = plan_text(*plan, {"a \"model\"\xff", "token-stays"});
  auto read = parse_plan(text);
  ASSERT_TRUE(read.ok()) << read.status().to_string() << text;
  EXPECT_TRUE(*read == *plan) << text;
  EXPECT_NE(text.find("[2,3]"), std::string::npos) << text;  // the experts of a rank, on a line
}

TEST(PlanFile, NamesTheFieldThatIsWrong) {
  const std::string head = R"({"format": "foregate-placement", "version": 1, "ranks": 2, "layers": )";
  const std::pair<std::string, std::string> cases[] = {
      {"no json", "format"},
      {R"({"format": "other"})", "format"},
      {R"({"format": "foregate-placement", "version": 2, "ranks": 2, "layers": []})", "version"},
      {R"({"format": "foregate-placement", "version": 1, "ranks": 0, "layers": []})", "ranks"},
      {R"({"format": "foregate-placement", "version": 1, "ranks": 18446744073709551615, "layers": []})", "ranks"},
      {head + "3}", "layers"},
      {head + "[7]}", "layers"},
      {head + R"([{"layer": 4096, "experts": 1, "ranks": [[0],[]]}]})", "layer"},
      {head + R"([{"layer": 0, "experts": 65537, "ranks": [[0],[]]}]})", "experts"},
      {head + R"([{"layer": 0, "experts": 2}]})", "ranks"},
      {head + R"([{"layer": 0, "experts": 2, "ranks": [[0,1]]}]})", "ranks"},
      {head + R"([{"layer": 0, "experts": 2, "ranks": [[0],[0]]}]})", "ranks"},
      {head + R"([{"layer": 0, "experts": 2, "ranks": [[0],[]]}]})", "ranks"},
      {head + R"([{"layer": 0, "experts": 2, "ranks": [[0],[2]]}]})", "ranks"},
      {head + R"([{"layer": 0, "experts": 2, "ranks": [[0],[-1]]}]})", "ranks"},
      {head + R"([{"layer": 0, "experts": 2, "ranks": [[0],"1"]}]})", "ranks"},
      {head + R"([{"layer": 0, "experts": 2, "ranks": [[0],[1]], "copies": [[0],[]]}]})", "copies"},
      {head + R"([{"layer": 0, "experts": 1, "ranks": [[0],[]]}, {"layer": 0, "experts": 1, "ranks": [[0],[]]}]})",
       "layers"},
  };
  for (const auto& [text, field] : cases) {
    auto plan = parse_plan(text);
    ASSERT_FALSE(plan.ok()) << text;
    EXPECT_EQ(plan.status().field(), field) << text;
  }
  EXPECT_TRUE(parse_plan(head + R"([{"layer": 1, "experts": 2, "ranks": [[0],[1]], "copies": [[1],[]]}]})").ok());
}

}  // namespace
}  // namespace foregate
