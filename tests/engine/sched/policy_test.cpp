// The policies as functions: their orders on hand-made views, what mlfq remembers, and what dlpm gives out.
#include "engine/sched/policy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "engine/base/rng.h"

namespace foregate {
namespace {

PolicyView view(std::uint64_t id) {
  PolicyView made;
  made.id = SeqId{id};
  made.tokens = 10;
  return made;
}

std::vector<std::uint64_t> ids(const std::vector<std::size_t>& order, const std::vector<PolicyView>& views) {
  std::vector<std::uint64_t> out;
  for (std::size_t i : order) out.push_back(views[i].id.value);
  return out;
}

using Ids = std::vector<std::uint64_t>;

TEST(Policy, NamesAreThoseOfTheOption) {
  for (PolicyKind kind : {PolicyKind::kFcfs, PolicyKind::kPriority, PolicyKind::kMlfq, PolicyKind::kDlpm}) {
    EXPECT_EQ(policy_named(policy_name(kind)), kind);
  }
  EXPECT_FALSE(policy_named("lifo"));
}

TEST(Policy, FcfsIsByArrival) {
  const std::vector<PolicyView> views = {view(3), view(1), view(2)};
  EXPECT_EQ(ids(fcfs_order(views), views), (Ids{1, 2, 3}));
}

TEST(Policy, PriorityThenArrival) {
  std::vector<PolicyView> views = {view(1), view(2), view(3), view(4)};
  views[0].priority = 5;
  views[2].priority = -1;
  EXPECT_EQ(ids(priority_order(views), views), (Ids{3, 2, 4, 1}));
}

TEST(Policy, MlfqIsByLevelThenArrival) {
  std::vector<PolicyView> views = {view(1), view(2), view(3)};
  views[0].mlfq.level = 2;
  views[1].mlfq.level = 1;
  views[2].mlfq.level = 1;
  EXPECT_EQ(ids(mlfq_order(views), views), (Ids{2, 3, 1}));
}

TEST(Mlfq, JoinsTheLevelThatItsPromptFits) {
  const MlfqOptions options{4, 16, 100};
  EXPECT_EQ(mlfq_joined(options, 1).level, 0);
  EXPECT_EQ(mlfq_joined(options, 16).level, 0);
  EXPECT_EQ(mlfq_joined(options, 17).level, 1);
  EXPECT_EQ(mlfq_joined(options, 64).level, 2);
  EXPECT_EQ(mlfq_joined(options, 1 << 30).level, 3) << "the last level takes the rest";
}

TEST(Mlfq, FallsALevelWithEachQuantum) {
  const MlfqOptions options{3, 4, 100};
  MlfqState state = mlfq_joined(options, 1);
  for (int i = 0; i < 3; ++i) state = mlfq_ran(options, state, 1);
  EXPECT_EQ(state, (MlfqState{0, 3, 0}));
  state = mlfq_ran(options, state, 1);
  EXPECT_EQ(state, (MlfqState{1, 0, 0}));
  EXPECT_EQ(mlfq_ran(options, state, 9), (MlfqState{2, 0, 0}));
  EXPECT_EQ(mlfq_ran(options, {0, 0, 0}, 13), (MlfqState{2, 0, 0})) << "4 and 8 used up at once";
  EXPECT_EQ(mlfq_ran(options, {2, 0, 7}, 1000), (MlfqState{2, 0, 0})) << "nothing is below the last level";
  EXPECT_EQ(mlfq_ran(options, {1, 3, 5}, 0), (MlfqState{1, 3, 0})) << "rows computed again use nothing up";
}

TEST(Mlfq, WhoWaitsComesBeforeAllUntilItHadAQuantum) {
  const MlfqOptions options{4, 16, 3};
  MlfqState state{3, 0, 0};
  for (int i = 0; i < 2; ++i) state = mlfq_skipped(options, state, 10 + i);
  EXPECT_EQ(state, (MlfqState{3, 0, 2}));
  state = mlfq_skipped(options, state, 12);
  EXPECT_EQ(state, (MlfqState{0, 0, 3, 12}));
  state = mlfq_skipped(options, state, 13);
  EXPECT_EQ(state.promoted_at, 12) << "it keeps its place";
  std::vector<PolicyView> views = {view(1), view(2), view(3)};
  views[1].mlfq.promoted_at = 9;
  views[2].mlfq.promoted_at = 8;
  EXPECT_EQ(ids(mlfq_order(views), views), (Ids{3, 2, 1}));
  state = mlfq_ran(options, state, 15);
  EXPECT_EQ(state, (MlfqState{0, 15, 0, 12})) << "until it has had a quantum";
  EXPECT_EQ(mlfq_ran(options, state, 1), (MlfqState{1, 0, 0}));
}

PolicyView of_client(std::uint64_t id, std::uint64_t client, std::int32_t known = 0) {
  PolicyView made = view(id);
  made.client = client;
  made.known = known;
  return made;
}

TEST(Dlpm, LongestPrefixFirstAmongClientsWithCredit) {
  const DlpmOptions options{100, 1, 2, 64};
  const std::vector<PolicyView> views = {of_client(1, 7), of_client(2, 7, 4), of_client(3, 8, 8), of_client(4, 9, 6)};
  DlpmBook book;
  book.credit = {{7, 50}, {8, -5}, {9, 50}};
  EXPECT_EQ(ids(dlpm_order(views, options, book), views), (Ids{4, 2, 1, 3}));
}

TEST(Dlpm, ADeficitLetsOthersGoFirst) {
  const DlpmOptions options{8, 1, 2, 64};
  std::vector<PolicyView> views;
  for (std::uint64_t id = 1; id <= 4; ++id) views.push_back(of_client(id, 1, 9));  // costs 1 each
  for (std::uint64_t id = 5; id <= 6; ++id) views.push_back(of_client(id, 2));     // costs 10 each
  // The first refill gives both 8: client 1's four are cheap and known, then client 2 goes into debt once.
  EXPECT_EQ(ids(dlpm_order(views, options, {}), views), (Ids{1, 2, 3, 4, 5, 6}));
  for (PolicyView& v : views) v.tokens = v.client == 1 ? 19 : 10;  // client 1 costs 10 too, with longer prefixes
  EXPECT_EQ(ids(dlpm_order(views, options, {}), views), (Ids{1, 5, 2, 6, 3, 4}));
}

TEST(Dlpm, RunningPausedAndPaidOnesAreOutsideTheAccount) {
  const DlpmOptions options{8, 1, 2, 64};
  std::vector<PolicyView> views = {of_client(1, 1), of_client(2, 1), of_client(3, 2), of_client(4, 2)};
  views[0].paused = true;
  views[3].running = true;
  views[2].was_preempted = true;
  EXPECT_EQ(ids(dlpm_order(views, options, {}), views), (Ids{4, 3, 2, 1}));
}

TEST(Dlpm, RefillsTakeTheRoundsThatADebtNeeds) {
  const DlpmOptions options{10, 1, 2, 64};
  DlpmBook book;
  book.credit = {{1, -25}, {2, -40}, {3, 5}};
  const std::vector<std::uint64_t> some = {1, 2};
  EXPECT_EQ(dlpm_refill(options, some, book), 3);
  EXPECT_EQ(book.of(1), 5);
  EXPECT_EQ(book.of(2), -10);
  EXPECT_EQ(dlpm_refill(options, some, book), 0) << "one has credit";
  EXPECT_EQ(dlpm_refill(options, {}, book), 0);
  dlpm_forget(std::vector<std::uint64_t>{1}, book);
  EXPECT_EQ(book.credit, (std::map<std::uint64_t, std::int64_t>{{1, 5}, {2, -10}})) << "a debt stays, savings do not";
  dlpm_forget({}, book);
  EXPECT_TRUE(book.credit.empty());
}

// Clients that always wait, one request admitted at a time: the work each was given stays within the stated bound of
// the others', whatever their requests cost, and the longest prefixes are used.
TEST(Dlpm, ServiceOfWaitingClientsStaysWithinTheBound) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    std::uint64_t draws = 0;
    const auto draw = [&](int low, int high) {
      return low + static_cast<std::int32_t>(uniform01(seed, 3, draws++) * (high - low + 1));
    };
    DlpmOptions options;
    options.quantum = draw(20, 200);
    DlpmBook book;
    std::map<std::uint64_t, std::int64_t> served;
    const int clients = draw(2, 5);
    std::int64_t largest = 0;
    std::uint64_t next_id = 1;
    for (int turn = 0; turn < 400; ++turn) {
      std::vector<PolicyView> views;
      std::vector<std::uint64_t> waiting;
      for (int c = 1; c <= clients; ++c) {
        waiting.push_back(static_cast<std::uint64_t>(c));
        for (int i = 0; i < 3; ++i) {
          PolicyView made = of_client(next_id++, static_cast<std::uint64_t>(c));
          made.tokens = draw(1, 40 * c);  // some ask for more
          made.known = draw(0, made.tokens - 1);
          views.push_back(made);
        }
      }
      const PolicyView& first = views[dlpm_order(views, options, book).front()];
      dlpm_refill(options, waiting, book);
      ASSERT_GT(book.of(first.client), 0) << "admitted with credit only";
      const std::int64_t cost = first.tokens - first.known;
      dlpm_charge(first.client, cost, book);
      served[first.client] += cost;
      largest = std::max(largest, cost);
      const auto [least, most] = std::ranges::minmax(waiting, {}, [&](std::uint64_t client) { return served[client]; });
      ASSERT_LE(served[most] - served[least], 2 * (options.quantum + largest)) << "seed " << seed << " turn " << turn;
    }
  }
}

}  // namespace
}  // namespace foregate
