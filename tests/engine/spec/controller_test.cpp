// The controller in worlds with known times and acceptance: it drafts where that gains, and never loses much elsewhere.
#include "engine/spec/controller.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>

#include "engine/base/rng.h"

namespace foregate {
namespace {

struct World {
  std::function<double(std::int32_t)> step;  // seconds by rows
  double draft = 0.0;                        // seconds for one more token
  double acceptance = 0.0;
  std::int32_t sequences = 1;
  std::int32_t stands_until = 1 << 30;  // steps after which nothing is accepted
  std::int32_t counted_from = 0;        // steps that over_plain leaves out
};

struct Outcome {
  double over_plain = 0.0;  // tokens per second, in those of plain decoding
  std::int64_t drafted = 0;
  std::uint64_t gated = 0;
};

Outcome live(const World& world, std::int32_t steps) {
  DraftController controller(4);
  double seconds = 0.0;
  std::int64_t tokens = 0;
  Outcome outcome;
  for (std::int32_t step = 0; step < steps; ++step) {
    if (step == world.counted_from) tokens = 0, seconds = 0.0;
    const double acceptance = step < world.stands_until ? world.acceptance : 0.0;
    std::vector<DraftController::Candidate> candidates;
    for (std::int32_t s = 0; s < world.sequences; ++s)
      candidates.push_back({SeqId{static_cast<std::uint64_t>(s)}, 4, 0, {}});
    controller.choose(candidates, world.sequences);
    std::int32_t rows = world.sequences;
    std::int32_t longest = 0;
    for (const auto& candidate : candidates) {
      rows += candidate.depth;
      longest = std::max(longest, candidate.depth);
    }
    const double took = world.step(rows);
    controller.note_draft(longest, longest * world.draft);
    seconds += took + longest * world.draft;
    tokens += world.sequences;
    for (const auto& candidate : candidates) {
      std::int32_t accepted = 0;
      while (accepted < candidate.depth && uniform01(7, candidate.seq.value * 8 + static_cast<std::uint64_t>(accepted),
                                                     static_cast<std::uint64_t>(step)) < acceptance) {
        ++accepted;
      }
      if (candidate.depth > 0) controller.note_verdict(candidate.seq, candidate.depth, accepted);
      tokens += accepted;
      outcome.drafted += candidate.depth;
    }
    controller.note_step(rows, took);
  }
  outcome.over_plain = static_cast<double>(tokens) / seconds * world.step(world.sequences) / world.sequences;
  outcome.gated = controller.gated();
  return outcome;
}

TEST(DraftController, DraftsWhereRowsAreCheap) {
  const Outcome outcome = live({[](std::int32_t rows) { return 1.0 + 0.05 * rows; }, 0.0, 0.8, 1}, 2000);
  EXPECT_GT(outcome.over_plain, 2.2);
  EXPECT_GT(outcome.drafted, 6000);
}

TEST(DraftController, SharesRowsOverABatch) {
  const Outcome outcome = live({[](std::int32_t rows) { return 1.0 + 0.01 * rows; }, 0.01, 0.7, 8}, 2000);
  EXPECT_GT(outcome.over_plain, 1.7);
}

// The first steps of each number of rows are slow: caches are cold, pages were never touched. That is not what they
// cost.
TEST(DraftController, DoesNotBelieveFirstTimes) {
  const auto warm = [](std::int32_t rows) { return 1.0 + 0.1 * rows; };
  const double best = live({warm, 0.02, 0.85, 1}, 6000).over_plain;
  EXPECT_GT(best, 1.9);
  for (const double slow : {2.0, 5.0}) {
    std::map<std::int32_t, int> seen;
    const auto cold = [&](std::int32_t rows) { return ++seen[rows] <= 3 && rows > 1 ? slow * warm(rows) : warm(rows); };
    const Outcome outcome = live({cold, 0.02, 0.85, 1}, 6000);
    EXPECT_GT(outcome.over_plain, 0.97 * best) << slow;
    EXPECT_GT(seen[5], 3000) << slow;
  }
}

// Something else makes all steps slow for a while, and then goes on: that is no reason to stop drafting.
TEST(DraftController, ASlowWhileIsNotHeldAgainstDrafts) {
  for (const double slow : {2.0, 3.0}) {
    for (const int turns : {5, 20, 60, 200}) {
      std::int64_t turn = 0;
      const auto step = [&](std::int32_t rows) {
        ++turn;
        return (turn > 1000 && turn <= 1000 + turns ? slow : 1.0) * (1.0 + 0.6 * rows);
      };
      EXPECT_LT(live({step, 0.1, 0.85, 1}, 4000).gated, 500u) << slow << " times slower for " << turns;
    }
  }
}

// What was gained before may be spent on finding out, but soon that is over.
TEST(DraftController, StopsWhenDraftsNoLongerStand) {
  World world{[](std::int32_t rows) { return 1.0 + 0.3 * rows; }, 0.05, 0.85, 1};
  world.stands_until = 4000;
  const double gaining = live(world, 4000).over_plain;
  EXPECT_GT(gaining, 1.5);
  world.counted_from = 4000;
  EXPECT_GT(live(world, 8000).over_plain, 0.97);
}

TEST(DraftController, NeverLosesWhereNothingIsAccepted) {
  const Outcome outcome = live({[](std::int32_t rows) { return 1.0 + 0.1 * rows; }, 0.1, 0.0, 1}, 4000);
  EXPECT_GT(outcome.over_plain, 0.98);
  EXPECT_GT(outcome.drafted, 0);
  EXPECT_GT(outcome.gated, 3000u);
}

TEST(DraftController, NeverLosesWhereARowCostsAsMuchAsAStep) {
  const Outcome outcome = live({[](std::int32_t rows) { return 1.0 * rows; }, 0.0, 0.8, 4}, 4000);
  EXPECT_GT(outcome.over_plain, 0.98);
  EXPECT_GT(outcome.gated, 3000u);
}

TEST(DraftController, NeverLosesWhereDraftingIsSlow) {
  const Outcome outcome = live({[](std::int32_t rows) { return 1.0 + 0.02 * rows; }, 1.0, 0.6, 1}, 4000);
  EXPECT_GT(outcome.over_plain, 0.98);
  EXPECT_GT(outcome.gated, 3000u);
}

// Drafts that are there already: a drafter that knows when it is right gets long drafts then, and none else.
TEST(DraftController, ChoosesByWhatTheDrafterKnows) {
  DraftController controller(8);
  const auto step = [](std::int32_t rows) { return 1.0 + 0.4 * rows; };
  double seconds = 0.0;
  double tokens = 0.0;
  std::int64_t drafted[2] = {0, 0};
  for (std::uint64_t turn = 0; turn < 4000; ++turn) {
    const bool good = uniform01(3, 0, turn) < 0.5;
    const std::vector<float> sure(8, good ? 0.9F : 0.55F);  // it thinks too well of its bad guesses: 0.05 of them stand
    std::vector<DraftController::Candidate> candidates = {{SeqId{turn / 50}, 8, 0, sure}};
    controller.choose(candidates, 1);
    controller.note_draft(8, 0.0);
    const std::int32_t depth = candidates[0].depth;
    std::int32_t accepted = 0;
    while (accepted < depth && uniform01(4, static_cast<std::uint64_t>(accepted), turn) < (good ? 0.95 : 0.05))
      ++accepted;
    if (depth > 0) controller.note_verdict(SeqId{turn / 50}, depth, accepted, sure);
    controller.note_step(1 + depth, step(1 + depth));
    seconds += step(1 + depth);
    tokens += 1 + accepted;
    drafted[good ? 1 : 0] += depth;
  }
  EXPECT_GT(tokens / seconds * step(1), 1.25);
  EXPECT_GT(drafted[1], 8 * drafted[0]);
}

// Estimates that turn out wrong do not keep drafts going: here what a draft costs shows in no time that is noted as
// its.
TEST(DraftController, StopsWhenTurnsWithDraftsAreSlower) {
  DraftController controller(4);
  std::int64_t drafted = 0;
  for (std::uint64_t turn = 0; turn < 4000; ++turn) {
    std::vector<DraftController::Candidate> candidates = {{SeqId{1}, 4, 0, {}}};
    controller.choose(candidates, 1);
    const std::int32_t depth = candidates[0].depth;
    controller.note_draft(depth, depth == 0 ? 0.0 : 1.5);  // once a turn, not by token
    if (depth > 0) controller.note_verdict(SeqId{1}, depth, depth / 2);
    controller.note_step(1 + depth, 1.0 + 0.02 * depth);
    drafted += depth;
  }
  EXPECT_GT(drafted, 0);
  EXPECT_LT(drafted, 400);
}

// A drafter that must catch up on what it was not asked about makes trials dear; they are made the more seldom.
TEST(DraftController, NeverLosesWhereTrialsAreDear) {
  for (const double acceptance : {0.1, 0.5}) {
    DraftController controller(4);
    double seconds = 0.0;
    double tokens = 0.0;
    std::int32_t missed = 100;  // a prompt
    std::int64_t drafted = 0;
    for (std::uint64_t turn = 0; turn < 20000; ++turn) {
      std::vector<DraftController::Candidate> candidates = {{SeqId{turn / 200}, 4, 0, {}}};
      if (turn % 200 == 0) missed = 100;
      controller.choose(candidates, 1);
      const std::int32_t depth = candidates[0].depth;
      const double draft = depth == 0 ? 0.0 : 0.3 * depth + 0.1 * missed;
      if (depth > 0) controller.note_draft(depth, draft, missed <= 2 ? 0 : missed);
      std::int32_t accepted = 0;
      while (accepted < depth && uniform01(5, static_cast<std::uint64_t>(accepted), turn) < acceptance) ++accepted;
      if (depth > 0) controller.note_verdict(SeqId{turn / 200}, depth, accepted);
      const double step = 1.0 + 0.3 * depth;
      controller.note_step(1 + depth, step);
      missed = depth > 0 ? 1 : missed + 1;
      seconds += step + draft;
      tokens += 1 + accepted;
      drafted += depth;
    }
    EXPECT_GT(tokens / seconds, 0.98) << acceptance;
    EXPECT_GT(drafted, 0);
  }
}

// A plain step right after drafts is slow, as the caches are; steady ones are not, and they are what drafts must beat.
TEST(DraftController, ComparesWithSteadyPlainSteps) {
  DraftController controller(4);
  bool drafted_before = false;
  double seconds = 0.0;
  double tokens = 0.0;
  for (std::uint64_t turn = 0; turn < 6000; ++turn) {
    std::vector<DraftController::Candidate> candidates = {{SeqId{1}, 4, 0, {}}};
    controller.choose(candidates, 1);
    const std::int32_t depth = candidates[0].depth;
    const double draft = 0.4 * depth;
    controller.note_draft(depth, draft);
    std::int32_t accepted = 0;
    while (accepted < depth && uniform01(4, static_cast<std::uint64_t>(accepted), turn) < 0.65) ++accepted;
    if (depth > 0) controller.note_verdict(SeqId{1}, depth, accepted);
    const double step = depth > 0 ? 1.6 + 0.3 * depth : drafted_before ? 2.0 : 1.0;
    controller.note_step(1 + depth, step);
    drafted_before = depth > 0;
    seconds += step + draft;
    tokens += 1 + accepted;
  }
  EXPECT_GT(tokens / seconds, 0.98);
}

// Turns that something else holds up, with drafts and without, say nothing about what drafts gain.
TEST(DraftController, GoesOnWhereTheMachineIsBusy) {
  DraftController controller(4);
  double seconds = 0.0;
  double tokens = 0.0;
  for (std::uint64_t turn = 0; turn < 20000; ++turn) {
    const auto held_up = [turn](std::uint64_t what) { return uniform01(9, what, turn) < 0.03 ? 30.0 : 0.0; };
    std::vector<DraftController::Candidate> candidates = {{SeqId{1}, 4, 0, {}}};
    controller.choose(candidates, 1);
    const std::int32_t depth = candidates[0].depth;
    const double draft = 0.1 * depth;
    if (depth > 0) controller.note_draft(depth, draft + held_up(1));
    std::int32_t accepted = 0;
    while (accepted < depth && uniform01(5, static_cast<std::uint64_t>(accepted), turn) < 0.8) ++accepted;
    if (depth > 0) controller.note_verdict(SeqId{1}, depth, accepted);
    const double step = 1.0 + 0.15 * depth;
    controller.note_step(1 + depth, step + held_up(2));
    seconds += step + draft;
    tokens += 1 + accepted;
  }
  EXPECT_GT(tokens / seconds, 1.3);
}

// Nor do such turns in which a drafter catches up on a new sequence: it goes on with what gains.
TEST(DraftController, GoesOnWhereCatchingUpIsHeldUp) {
  DraftController controller(4);
  controller.note_draft(0, 0.02 * 16, 16);
  double seconds = 0.0;
  double tokens = 0.0;
  std::int32_t missed = 0;
  for (std::uint64_t turn = 0; turn < 8000; ++turn) {
    std::vector<DraftController::Candidate> candidates = {{SeqId{turn / 100}, 4, 0, {}}};
    if (turn % 100 == 0) missed = 30;
    controller.choose(candidates, 1);
    const std::int32_t depth = candidates[0].depth;
    const double draft = depth == 0 ? 0.0 : 0.1 * depth + 0.02 * (missed > 2 ? missed : 0);
    const double held_up = missed > 2 && turn / 100 % 3 == 0 ? 60.0 : 0.0;
    if (depth > 0) controller.note_draft(depth, draft + held_up, missed > 2 ? missed : 0);
    std::int32_t accepted = 0;
    while (accepted < depth && uniform01(5, static_cast<std::uint64_t>(accepted), turn) < 0.8) ++accepted;
    if (depth > 0) controller.note_verdict(SeqId{turn / 100}, depth, accepted);
    missed = depth > 0 ? 1 : missed + 1;
    const double step = 1.0 + 0.2 * depth;
    controller.note_step(1 + depth, step);
    seconds += step + draft;
    tokens += 1 + accepted;
  }
  EXPECT_GT(tokens / seconds, 1.45);
  EXPECT_LT(controller.gated(), 800u) << "turns of few tokens do not stop what gains on the whole";
}

TEST(DraftController, TrimsWhatWasDraftedForNothing) {
  DraftController controller(4);
  const auto step = [](std::int32_t rows) { return 1.0 + 0.3 * rows; };
  for (std::int32_t rows = 1; rows <= 5; ++rows) {
    for (int i = 0; i < 8; ++i) controller.note_step(rows, step(rows));
  }
  const std::vector<float> sure = {0.95F, 0.9F, 0.05F, 0.9F};
  std::vector<DraftController::Candidate> candidates = {{SeqId{1}, 4, 0, sure}};
  controller.trim(candidates, 1);
  EXPECT_EQ(candidates[0].depth, 2);
}

}  // namespace
}  // namespace foregate
