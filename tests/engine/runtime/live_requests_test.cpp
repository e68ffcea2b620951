// The ledger of accepted requests by itself.
#include "engine/runtime/live_requests.h"

#include <gtest/gtest.h>

namespace foregate {
namespace {

TEST(LiveRequests, CountsSamplesInAndOut) {
  LiveRequests live(5);
  EXPECT_TRUE(live.open(RequestId{1}, 3).ok());
  EXPECT_EQ(live.open(RequestId{2}, 3).code(), Code::kResourceExhausted);
  EXPECT_EQ(live.open(RequestId{1}, 1).code(), Code::kInvalidArgument);
  EXPECT_EQ(live.open(RequestId{3}, 6).code(), Code::kInvalidArgument);
  EXPECT_TRUE(live.open(RequestId{2}, 2).ok());
  live.close_sample(RequestId{1});
  EXPECT_EQ(live.samples(), 4);
  live.abandon(RequestId{1});
  EXPECT_EQ(live.samples(), 2);
  EXPECT_TRUE(live.open(RequestId{1}, 1).ok());
}

TEST(LiveRequests, ControlsOfOneRequestMerge) {
  LiveRequests live(100);
  ASSERT_TRUE(live.open(RequestId{1}, 3).ok());
  ASSERT_TRUE(live.open(RequestId{2}, 1).ok());
  for (int i = 0; i < 1000; ++i) {
    EXPECT_TRUE(live.set_paused(RequestId{1}, i % 2 == 0));
    EXPECT_TRUE(live.cancel(RequestId{1}, 2));
  }
  EXPECT_FALSE(live.cancel(RequestId{1}, 3));
  EXPECT_FALSE(live.cancel(RequestId{1}, -1));
  EXPECT_TRUE(live.cancel(RequestId{2}));
  EXPECT_FALSE(live.cancel(RequestId{9}));
  const auto controls = live.take_controls();
  ASSERT_EQ(controls.size(), 2u);
  EXPECT_EQ(controls[0].request, RequestId{1});
  EXPECT_EQ(controls[0].cancelled, (std::vector<std::int32_t>{2}));
  EXPECT_EQ(controls[0].paused, false);
  EXPECT_FALSE(controls[0].cancel_all);
  EXPECT_TRUE(controls[1].cancel_all);
  EXPECT_TRUE(live.take_controls().empty());
}

TEST(LiveRequests, WhatIsPutBackComesAgainUnlessOverruled) {
  LiveRequests live(100);
  ASSERT_TRUE(live.open(RequestId{1}, 2).ok());
  ASSERT_TRUE(live.set_paused(RequestId{1}, true));
  ASSERT_TRUE(live.cancel(RequestId{1}, 1));
  auto controls = live.take_controls();
  ASSERT_TRUE(live.set_paused(RequestId{1}, false));  // said later
  live.put_back(std::move(controls[0]));
  controls = live.take_controls();
  ASSERT_EQ(controls.size(), 1u);
  EXPECT_EQ(controls[0].paused, false);
  EXPECT_EQ(controls[0].cancelled, (std::vector<std::int32_t>{1}));
  live.abandon(RequestId{1});
  live.put_back(std::move(controls[0]));
  EXPECT_TRUE(live.take_controls().empty());
}

TEST(LiveRequests, ControlsDieWithTheirRequest) {
  LiveRequests live(100);
  ASSERT_TRUE(live.open(RequestId{1}, 1).ok());
  ASSERT_TRUE(live.cancel(RequestId{1}));
  live.close_sample(RequestId{1});
  EXPECT_TRUE(live.take_controls().empty());
  ASSERT_TRUE(live.open(RequestId{1}, 1).ok());
  EXPECT_TRUE(live.take_controls().empty()) << "a reused id must not inherit a cancel";
}

}  // namespace
}  // namespace foregate
