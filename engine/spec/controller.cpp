#include "engine/spec/controller.h"

#include <algorithm>
#include <utility>

#include "engine/spec/draft_tree.h"

namespace foregate {
namespace {

constexpr double kLeastGain = 1.03;
constexpr double kSureGain = 1.05;   // of turns that were measured: plain ones between them are slower than others
constexpr double kKeep = 0.97;       // of old verdicts, at each new one
constexpr double kNewTime = 0.3;     // weight of a new time
constexpr double kOutlier = 3.0;     // a time counts at most so many times what was expected
constexpr double kOneStep = 0.25;    // so far a known time moves by one new one, of which kNewTime counts
constexpr double kFirstGuess = 0.7;  // acceptance before anything was seen
constexpr double kPrior = 4.0;       // verdicts that a sequence must have to count as much as all others
constexpr std::int32_t kFirstRefresh = 24;
constexpr std::int32_t kRefresh = 64;  // drafting steps before plain ones renew their time
constexpr std::int32_t kProbeTurns = 4;
constexpr std::int32_t kLengthen = 96;
constexpr std::int32_t kLongTurns = 2;  // of every kLengthen, with longer drafts than chosen
constexpr std::int32_t kTimesToKnow = 6;
constexpr std::int32_t kPlainTurns = 6;
constexpr std::int32_t kSettleTurns = 3;   // first plain ones after drafts, whose times say nothing
constexpr std::int32_t kReviewTurns = 12;  // plain ones that show whether what made drafts slow was on their side alone
constexpr std::int32_t kTurnsToJudge = 16;  // with drafts, before their measured speed counts
constexpr double kKeepTurn = 0.97;          // of old turns with drafts, at each new one
constexpr double kPayBack = 0.01;           // of a plain turn's time
constexpr double kMostDebt = 16.0;          // plain turns
constexpr double kMostSureDebt = 128.0;     // the same, where turns with drafts are measured to gain
constexpr double kFirstCredit = 24.0;       // the same, before anything was saved: the first turns are slow ones
constexpr double kMostCredit = 128.0;       // the same: what was saved may be lost again
constexpr std::int32_t kFirstPatience = 64;
constexpr std::int32_t kLastPatience = 1024;

}  // namespace

void DraftController::Rate::note(bool hit) {
  hits = hits * kKeep + (hit ? 1.0 : 0.0);
  trials = trials * kKeep + 1.0;
}

void DraftController::Balance::note(double took, double plain) {
  seconds = seconds * kKeepTurn + std::min(took, kOutlier * plain);
  worth = worth * kKeepTurn + plain;
  ++count;
}

DraftController::Cost::Cost() : patience(kFirstRefresh) {}

// The least of the first ones, which find cold caches and pages that were never touched. Then near the median: what
// holds one turn up says nothing of the next.
void DraftController::Cost::note(double value) {
  if (++count <= kTimesToKnow) {
    seconds = count == 1 ? value : std::min(seconds, value);
    return;
  }
  seconds += kNewTime * (std::clamp(value, (1.0 - kOneStep) * seconds, (1.0 + kOneStep) * seconds) - seconds);
}

DraftController::DraftController(std::int32_t most, std::vector<std::int32_t> widths)
    : most_(most),
      widths_(std::move(widths)),
      steps_(static_cast<std::size_t>(kMostRows) + 1),
      places_(static_cast<std::size_t>(most)),
      patience_(kFirstPatience) {}

bool DraftController::known(std::int32_t rows) const {
  return rows <= kMostRows && steps_[static_cast<std::size_t>(rows)].count >= kTimesToKnow;
}

bool DraftController::gains_for_sure() const {
  return measured_.count >= kTurnsToJudge && measured_.ratio() * kLeastGain <= 1.0;
}

// Between neighbours that were measured; beyond them as the nearest, so that what is unknown gets tried once. A time
// that was measured too seldom to be known counts where it is less.
double DraftController::step_seconds(std::int32_t rows) const {
  const std::int32_t at = std::min(rows, kMostRows);
  const Cost& own = steps_[static_cast<std::size_t>(at)];
  if (known(at)) return own.seconds;
  const double around = between_neighbours(at);
  if (own.count == 0) return around;
  return around > 0.0 ? std::min(own.seconds, around) : own.seconds;
}

double DraftController::between_neighbours(std::int32_t at) const {
  std::int32_t low = at - 1;
  while (low > 0 && steps_[static_cast<std::size_t>(low)].count == 0) --low;
  std::int32_t high = at + 1;
  while (high <= most_rows_ && steps_[static_cast<std::size_t>(high)].count == 0) ++high;
  low = std::max(low, 0);
  if (low == 0 && high > most_rows_) return 0.0;
  if (high > most_rows_) return steps_[static_cast<std::size_t>(low)].seconds;
  const double above = steps_[static_cast<std::size_t>(high)].seconds;
  if (low == 0) return above;
  const double below = steps_[static_cast<std::size_t>(low)].seconds;
  return below + (above - below) * (at - low) / (high - low);
}

// Probability of a guess that the drafter held that probable.
double DraftController::guess(float sure) const {
  const auto bin = std::clamp<std::size_t>(static_cast<std::size_t>(sure * 16.0F), 0, guesses_.size() - 1);
  return (guesses_[bin].hits + kPrior * sure) / (guesses_[bin].trials + kPrior);
}

double DraftController::acceptance(const Candidate& candidate, std::int32_t place) const {
  const auto own = sequences_.find(candidate.seq);
  if (!candidate.sure.empty()) {
    const double luck =
        own == sequences_.end() ? 1.0 : (own->second.rate.hits + kPrior) / (own->second.expected + kPrior);
    return std::clamp(guess(candidate.sure[static_cast<std::size_t>(place)]) * luck, 0.0, 0.999);
  }
  const auto rate = [](const Rate& r, double prior) { return (r.hits + kPrior * prior) / (r.trials + kPrior); };
  const double everywhere = rate(all_, kFirstGuess);
  const double here = rate(places_[static_cast<std::size_t>(place)], everywhere);
  const double mine = own == sequences_.end() ? everywhere : rate(own->second.depth, everywhere);
  return std::clamp(mine * here / std::max(everywhere, 1e-6), 0.0, 0.999);
}

// Rows that one place more takes: of a draft that is not there yet, all that the tree has there.
std::int32_t DraftController::width(const Candidate& candidate, std::int32_t place) const {
  if (!candidate.sure.empty() || !candidate.parents.empty() || widths_.empty()) return 1;
  return widths_[static_cast<std::size_t>(place)];
}

void DraftController::order_tree(Candidate& candidate) const {
  candidate.order.clear();
  candidate.reach.clear();
  const std::vector<std::int32_t> depths =
      candidate.sure.empty() ? depths_of(candidate.parents) : std::vector<std::int32_t>();
  for (std::size_t i = 0; i < candidate.parents.size(); ++i) {
    const std::int32_t parent = candidate.parents[i];
    const double before = parent < 0 ? 1.0 : candidate.reach[static_cast<std::size_t>(parent)];
    candidate.reach.push_back(before *
                              acceptance(candidate, depths.empty() ? static_cast<std::int32_t>(i) : depths[i] - 1));
    candidate.order.push_back(static_cast<std::int32_t>(i));
  }
  // A token is less probable than the one it follows, which so comes before it.
  std::ranges::stable_sort(candidate.order, std::ranges::greater(),
                           [&](std::int32_t i) { return candidate.reach[static_cast<std::size_t>(i)]; });
}

// How probable it is that the first token stands, by then `depth` more after one that stands as probably as `before`.
double DraftController::first_of(Candidate& candidate) const {
  if (!candidate.parents.empty()) order_tree(candidate);
  if (candidate.most <= 0) return 0.0;
  return candidate.parents.empty() ? acceptance(candidate, 0)
                                   : candidate.reach[static_cast<std::size_t>(candidate.order.front())];
}

double DraftController::next_of(const Candidate& candidate, std::int32_t depth, double before) const {
  if (!candidate.parents.empty()) {
    if (depth >= candidate.most) return 0.0;
    return candidate.reach[static_cast<std::size_t>(candidate.order[static_cast<std::size_t>(depth)])];
  }
  return depth < std::min(most_, candidate.most) ? before * acceptance(candidate, depth) : 0.0;
}

// Sets the depths that give the most tokens per second, and says how many times plain decoding that is.
double DraftController::gain(std::span<Candidate> candidates, std::int32_t decode_rows, double draft_seconds) {
  const double plain = decode_rows / step_seconds(decode_rows);
  std::vector<double> next(candidates.size());  // probability that the next token of the draft would stand
  std::vector<std::int32_t> depth(candidates.size(), 0);
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    candidates[i].depth = 0;
    next[i] = first_of(candidates[i]);
  }
  double tokens = decode_rows;
  double best = 1.0;
  std::int32_t longest = 0;
  for (std::int32_t rows = decode_rows; rows < kMostRows;) {
    const auto at = static_cast<std::size_t>(std::max_element(next.begin(), next.end()) - next.begin());
    if (next[at] <= 0.0) break;
    tokens += next[at];
    rows += width(candidates[at], depth[at]);
    longest = std::max(longest, ++depth[at]);
    next[at] = next_of(candidates[at], depth[at], next[at]);
    const double ratio = tokens / (step_seconds(rows) + longest * draft_seconds) / plain;
    if (ratio <= best) continue;
    best = ratio;
    // What a row more takes, as those of the drafts do on average: two neighbours say more of noise than of rows.
    const double more = (step_seconds(rows) - step_seconds(decode_rows)) / (rows - decode_rows) +
                        draft_seconds / static_cast<double>(candidates.size());
    least_probability_ = std::clamp(more * ratio * plain, 0.0, 1.0);
    for (std::size_t i = 0; i < candidates.size(); ++i) candidates[i].depth = depth[i];
  }
  return best;
}

// After long enough without drafts, short ones for everybody in a few turns: acceptance and times may have changed.
bool DraftController::probe(std::span<Candidate> candidates) {
  if (probe_turns_ == 0) {
    if (++off_for_ < patience_ || debt_ > 0.0) return false;
    off_for_ = 0;
    patience_ = std::min(2 * patience_, kLastPatience);
    measured_ = {};
    probe_turns_ = kProbeTurns;
    ++probes_;
  }
  --probe_turns_;
  for (Candidate& candidate : candidates) {
    if (!candidate.parents.empty()) order_tree(candidate);
    candidate.depth = std::min({2, most_, candidate.most});
  }
  least_probability_ = 0.0;
  probing_ = true;
  return true;
}

// Now and then longer drafts than chosen: what was found too long once, the times of more rows among it, may not be.
bool DraftController::lengthen(std::span<Candidate> candidates) {
  if (on_for_ % kLengthen == kLengthen / 2 && debt_ <= 0.0) long_turns_ = kLongTurns;
  if (long_turns_ == 0) return false;
  --long_turns_;
  bool longer = false;
  for (Candidate& candidate : candidates) {
    const std::int32_t chosen = candidate.depth;
    candidate.depth = std::max(chosen, std::min({2 * chosen + 1, most_, candidate.most}));
    longer |= candidate.depth > chosen;
  }
  if (longer) least_probability_ = 0.0;
  return longer;
}

void DraftController::choose(std::span<Candidate> candidates, std::int32_t decode_rows) {
  turn_rows_ = decode_rows;
  turn_drafted_ = turn_accepted_ = 0;
  turn_draft_seconds_ = 0.0;
  turn_steady_ = true;
  probing_ = false;
  const bool any = std::ranges::any_of(candidates, [](const Candidate& candidate) { return candidate.most > 0; });
  if (!any) return;
  if (probe_turns_ > 0 && probe(candidates)) return;
  Cost& plain = steps_[static_cast<std::size_t>(std::min(decode_rows, kMostRows))];
  if (plain.unseen >= plain.patience) {
    plain_turns_ = review_turns_ = kPlainTurns;
    plain.unseen = 0;
    plain.patience = std::min(2 * plain.patience, kRefresh);
  }
  const bool renew = !known(decode_rows) || plain_turns_ > 0;
  double ratio = renew ? 1.0 : gain(candidates, decode_rows, draft_.seconds);
  const bool expected = ratio >= kLeastGain;
  if (in_debt_) ratio = 1.0;
  if (measured_.count >= kTurnsToJudge) ratio = std::min(ratio, kLeastGain / kSureGain / measured_.ratio());
  const bool refused = expected && ratio < kLeastGain;
  if (refused && !refused_) review_turns_ = kReviewTurns;
  if (!renew) refused_ = refused;
  if (ratio >= kLeastGain) {
    ++on_for_;
    ++plain.unseen;
    off_for_ = 0;
    if (measured_.count >= kTurnsToJudge) patience_ = kFirstPatience;  // it gains, and not by estimate only
    probing_ = lengthen(candidates);
    return;
  }
  for (Candidate& candidate : candidates) candidate.depth = 0;
  plain_turns_ = std::max(0, plain_turns_ - 1);
  if (!renew && probe(candidates)) return;
  ++gated_;
}

void DraftController::trim(std::span<Candidate> candidates, std::int32_t decode_rows) {
  if (probing_ || !known(decode_rows)) {
    for (Candidate& candidate : candidates) {
      if (!candidate.parents.empty()) order_tree(candidate);
      candidate.depth = candidate.most;
    }
    return;
  }
  gain(candidates, decode_rows, 0.0);
}

// What else held the drafter up is not held against it, as far as its own time is known.
void DraftController::note_draft(std::int32_t depth, double seconds, std::int32_t missed) {
  turn_steady_ = missed == 0;
  const double drafting = draft_.seconds * depth;
  const bool expected = missed > 0 ? missed_.seconds > 0.0 : depth > 0 && draft_.count >= kTimesToKnow;
  const double usual = drafting + missed_.seconds * missed;
  turn_draft_seconds_ = expected ? std::min(seconds, kOutlier * usual) : seconds;
  if (missed > 0) {
    missed_.note(std::max(0.0, seconds - drafting) / missed);
  } else if (depth > 0) {
    draft_.note(seconds / depth);
  }
}

void DraftController::note_step(std::int32_t rows, double seconds) {
  if (rows > 0 && seconds > 0.0) pay(seconds);
  const bool drafted = turn_drafted_ > 0;
  like_this_ = std::exchange(last_drafted_, drafted) == drafted ? like_this_ + 1 : 0;
  if (like_this_ < (drafted ? 1 : kSettleTurns) || rows <= 0 || rows > kMostRows || seconds <= 0.0) return;
  Cost& cost = steps_[static_cast<std::size_t>(rows)];
  const double before = cost.seconds;
  cost.note(seconds);
  most_rows_ = std::max(most_rows_, rows);
  if (turn_drafted_ == 0 && rows == turn_rows_ && before > 0.0) review(cost.seconds / before);
  if (turn_drafted_ > 0 && turn_steady_ && !probing_ && known(turn_rows_)) judge_turn(seconds + turn_draft_seconds_);
}

void DraftController::pay(double seconds) {
  const double plain = step_seconds(turn_rows_);
  if (turn_rows_ <= 0 || plain <= 0.0) return;
  if (!std::exchange(began_, true)) debt_ = -kFirstCredit * plain;
  if (turn_drafted_ == 0 && turn_steady_) {
    debt_ -= debt_ > 0.0 ? kPayBack * seconds : 0.0;
  } else {
    const double worth = plain * (turn_rows_ + turn_accepted_) / turn_rows_;
    const double took = std::min(seconds, kOutlier * worth);
    debt_ = std::max(debt_ + took + turn_draft_seconds_ - worth, -kMostCredit * plain);
  }
  const double most = gains_for_sure() ? kMostSureDebt : kMostDebt;
  in_debt_ = debt_ > (in_debt_ ? 0.0 : most * plain);
}

// Plain turns right after drafts show what those were worth: all turns may have become slower, by something else or as
// sequences grow, or faster.
void DraftController::review(double change) {
  if (review_turns_ == 0) return;
  --review_turns_;
  const double more = measured_.worth * (change - 1.0);
  measured_.worth += more;
  debt_ -= more;
}

// What estimates say is held against what was measured: time over that of plain turns for as many tokens, so that a
// turn that something else held up counts no more than a plain one would.
void DraftController::judge_turn(double seconds) {
  const double tokens = turn_rows_ + turn_accepted_;
  measured_.note(seconds, tokens / turn_rows_ * step_seconds(turn_rows_));
}

void DraftController::note_token(Luck& own, float sure, bool hit) {
  own.expected = own.expected * kKeep + guess(sure);
  guesses_[std::clamp<std::size_t>(static_cast<std::size_t>(sure * 16.0F), 0, guesses_.size() - 1)].note(hit);
}

void DraftController::note_verdict(SeqId seq, std::int32_t drafted, std::int32_t accepted,
                                   std::span<const float> sure) {
  Luck& own = sequences_[seq];
  turn_drafted_ += drafted;
  turn_accepted_ += accepted;
  for (std::int32_t place = 0; place < std::min(drafted, accepted + 1); ++place) {
    const bool hit = place < accepted;
    if (static_cast<std::size_t>(place) < sure.size()) note_token(own, sure[static_cast<std::size_t>(place)], hit);
    own.rate.note(hit);
    own.depth.note(hit);
    all_.note(hit);
    places_[static_cast<std::size_t>(place)].note(hit);
  }
}

// Tokens count where the one that they follow stood.
void DraftController::note_tree_verdict(SeqId seq, std::span<const std::int32_t> parents,
                                        std::span<const std::int32_t> path, std::span<const float> sure) {
  Luck& own = sequences_[seq];
  turn_drafted_ += static_cast<std::int32_t>(parents.size());
  turn_accepted_ += static_cast<std::int32_t>(path.size());
  for (std::size_t place = 0; place <= path.size() && place < places_.size(); ++place) {
    const std::int32_t at = place == 0 ? -1 : path[place - 1];
    const std::int32_t stood = place < path.size() ? path[place] : -1;
    bool tried = false;
    for (auto i = static_cast<std::size_t>(at + 1); i < parents.size(); ++i) {
      if (parents[i] != at) continue;
      tried = true;
      const bool hit = static_cast<std::int32_t>(i) == stood;
      if (i < sure.size()) note_token(own, sure[i], hit);
      own.rate.note(hit);
    }
    if (!tried) return;
    own.depth.note(stood >= 0);
    all_.note(stood >= 0);
    places_[place].note(stood >= 0);
  }
}

}  // namespace foregate
