#include "engine/experts/link_clock.h"

#include <gtest/gtest.h>

namespace foregate {
namespace {

// Two layers a step: the first waits for a load of 2 s and computes 1 s after it, the second has all and takes 4 s.
void run(LinkClock& clock, double at, bool decode = true) {
  clock.begin(LayerId{0}, decode, at);
  clock.loads();
  clock.arrived(at + 2);
  clock.begin(LayerId{1}, decode, at + 3);
}

TEST(LinkClock, TellsLayersThatLoadFromThoseThatDoNot) {
  LinkClock clock;
  EXPECT_FALSE(clock.timed());
  EXPECT_EQ(clock.idle(), 0.0);
  clock.begin(LayerId{0}, true, 0);
  clock.begin(LayerId{1}, true, 4);
  clock.loads();
  clock.arrived(6);
  clock.begin(LayerId{2}, true, 7);
  EXPECT_TRUE(clock.timed());
  EXPECT_DOUBLE_EQ(clock.idle(), 4.0) << "nothing to wait for yet";
  clock.loads();
  EXPECT_DOUBLE_EQ(clock.idle(), 1.0);
  EXPECT_NEAR(clock.layer(), 4 - 0.05, 1e-12);
}

TEST(LinkClock, WithoutAnEmptyLayerSeenTakesTheOther) {
  LinkClock clock;
  run(clock, 10);
  EXPECT_DOUBLE_EQ(clock.idle(), 1.0);
}

TEST(LinkClock, CountsNothingBetweenSteps) {
  LinkClock clock;
  for (int i = 0; i < 50; ++i) run(clock, 1000.0 * i);
  EXPECT_DOUBLE_EQ(clock.layer(), 3.0);
  EXPECT_DOUBLE_EQ(clock.idle(), 1.0) << "a server that rests for a thousand seconds has no such time in a layer";
}

TEST(LinkClock, CountsNothingOfPrompts) {
  LinkClock clock;
  run(clock, 0, false);
  EXPECT_FALSE(clock.timed());
  clock.begin(LayerId{2}, true, 100);
  clock.begin(LayerId{3}, true, 102);
  EXPECT_DOUBLE_EQ(clock.layer(), 2.0);
}

}  // namespace
}  // namespace foregate
