// The ledger of accepted requests by itself.
#include "engine/runtime/live_requests.h"

#include <gtest/gtest.h>

#include "engine/api/client_share.h"

namespace foregate {
namespace {

TEST(LiveRequests, CountsSamplesInAndOut) {
  LiveRequests live({.max_samples = 5});
  EXPECT_TRUE(live.open(RequestId{1}, 3).ok());
  EXPECT_EQ(live.open(RequestId{2}, 3).code(), Code::kResourceExhausted);
  EXPECT_EQ(live.open(RequestId{1}, 1).code(), Code::kInvalidArgument);
  EXPECT_EQ(live.open(RequestId{3}, 6).code(), Code::kInvalidArgument);
  EXPECT_TRUE(live.open(RequestId{2}, 2).ok());
  live.close_sample(RequestId{1}, false);
  EXPECT_EQ(live.samples(), 4);
  live.abandon(RequestId{1});
  EXPECT_EQ(live.samples(), 2);
  EXPECT_TRUE(live.open(RequestId{1}, 1).ok());
}

TEST(LiveRequests, ControlsOfOneRequestMerge) {
  LiveRequests live({.max_samples = 100});
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
  LiveRequests live({.max_samples = 100});
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
  LiveRequests live({.max_samples = 100});
  ASSERT_TRUE(live.open(RequestId{1}, 1).ok());
  ASSERT_TRUE(live.cancel(RequestId{1}));
  live.close_sample(RequestId{1}, false);
  EXPECT_TRUE(live.take_controls().empty());
  ASSERT_TRUE(live.open(RequestId{1}, 1).ok());
  EXPECT_TRUE(live.take_controls().empty()) << "a reused id must not inherit a cancel";
}

TEST(LiveRequests, QueuedTokensAreBoundedUntilTheFirstStep) {
  LiveRequests live({.max_samples = 100, .max_queued_tokens = 50});
  EXPECT_TRUE(live.open(RequestId{1}, 1, 80).ok()) << "alone, it would never be let in otherwise";
  Status status = live.open(RequestId{2}, 1, 1);
  EXPECT_EQ(status.code(), Code::kResourceExhausted);
  EXPECT_TRUE(status.field().empty());
  live.begin_sample(RequestId{1});
  EXPECT_TRUE(live.open(RequestId{2}, 2, 25).ok());
  EXPECT_FALSE(live.open(RequestId{3}, 1, 1).ok());
  EXPECT_EQ(live.figures().queued_tokens, 50);
  live.begin_sample(RequestId{2});
  live.close_sample(RequestId{2}, false);  // cancelled before it ran, while the other one goes on
  EXPECT_EQ(live.figures().queued_tokens, 0);
  live.close_sample(RequestId{2}, true);
  EXPECT_EQ(live.figures().queued_tokens, 0);
  EXPECT_TRUE(live.open(RequestId{4}, 3, 10).ok());
  live.abandon(RequestId{4});
  live.close_sample(RequestId{1}, true);
  EXPECT_EQ(live.figures().queued_tokens, 0);
  EXPECT_EQ(live.samples(), 0);
  EXPECT_EQ(live.figures().refused_tokens, 2u);
}

TEST(LiveRequests, AClientHasItsShare) {
  LiveRequests live({.max_samples = 10, .max_client_share = 30});
  EXPECT_TRUE(live.open(RequestId{1}, 3, 1, 7).ok());
  const Status status = live.open(RequestId{2}, 1, 1, 7);
  EXPECT_EQ(status.code(), Code::kResourceExhausted);
  EXPECT_EQ(status.field(), kClientShareField);
  EXPECT_TRUE(live.open(RequestId{2}, 1, 1, 8).ok()) << "others are served";
  EXPECT_TRUE(live.open(RequestId{3}, 2, 1, 0).ok()) << "nobody known has no share";
  EXPECT_EQ(live.check_room(7).field(), kClientShareField);
  EXPECT_TRUE(live.check_room(8).ok());
  live.close_sample(RequestId{1}, false);
  EXPECT_TRUE(live.check_room(7).ok()) << "nothing was taken by asking";
  EXPECT_TRUE(live.open(RequestId{4}, 1, 1, 7).ok());
  EXPECT_FALSE(live.open(RequestId{5}, 4, 1, 9).ok()) << "more than a share from the start";
  EXPECT_EQ(live.figures().refused_share, 3u);
  EXPECT_EQ(live.figures().refused_full, 0u);
}

}  // namespace
}  // namespace foregate
