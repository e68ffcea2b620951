// How many tokens to draft for each sequence of a step. From measured times of steps by rows and of drafting, and from
// how often drafts stood, it takes the lengths with the most expected tokens per second, rows first to the most
// probable drafts; none when that gains less than 3 %. What it does not use it tries again now and then. It reads no
// clock: equal notes, equal answers. Engine thread.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/base/ids.h"

namespace foregate {

class DraftController {
 public:
  // `widths`: tokens of a whole draft at each depth; empty: one at each of `most`, a chain.
  explicit DraftController(std::int32_t most, std::vector<std::int32_t> widths = {});

  struct Candidate {
    SeqId seq;
    std::int32_t most = 0;   // tokens that may be drafted for it
    std::int32_t depth = 0;  // answer: tokens to draft, after one another
    // Of a draft that is there already: how probable the drafter holds each token. Empty: it cannot tell.
    std::span<const float> sure{};
    // Of one that is a tree (Draft::parents): `most` are its tokens, the answer is the first `depth` of `order`.
    std::span<const std::int32_t> parents{};
    std::vector<std::int32_t> order{};  // answer: its tokens, those first that stand most probably
    std::vector<double> reach{};        // of these: how probable that is
  };
  // `decode_rows`: sequences that decode in the step, the candidates among them.
  void choose(std::span<Candidate> candidates, std::int32_t decode_rows);
  // Of drafts that choose() asked for and the drafter then made, the part worth its rows.
  void trim(std::span<Candidate> candidates, std::int32_t decode_rows);
  // A draft that choose() asked for should not grow when it is less probable than this.
  double least_probability() const { return least_probability_; }

  // The drafter worked on drafts of so many tokens, and on so many rows of what it had missed of the sequences.
  void note_draft(std::int32_t depth, double seconds, std::int32_t missed = 0);
  void note_verdict(SeqId seq, std::int32_t drafted, std::int32_t accepted, std::span<const float> sure = {});
  // The same of a tree: the tokens that stood, in order.
  void note_tree_verdict(SeqId seq, std::span<const std::int32_t> parents, std::span<const std::int32_t> path,
                         std::span<const float> sure);
  // A step of decode rows and drafts only, after its verdicts. The first ones after a change between plain turns and
  // turns with drafts say nothing: they find the caches full of the other's weights.
  void note_step(std::int32_t rows, double seconds);
  void forget(SeqId seq) { sequences_.erase(seq); }

  std::uint64_t gated() const { return gated_; }    // answers of nothing at all
  std::uint64_t probes() const { return probes_; }  // drafts that were not expected to gain
  double step_seconds(std::int32_t rows) const;     // expected, 0: nothing is known

 private:
  struct Rate {
    double hits = 0.0;
    double trials = 0.0;
    void note(bool hit);
  };
  struct Cost {
    double seconds = 0.0;
    std::int32_t count = 0;
    std::int32_t unseen = 0;  // of plain turns of so many rows: those with drafts since their time was renewed
    std::int32_t patience;    // of these, before it is renewed
    Cost();
    void note(double value);
  };
  // Of turns: their time, and that of plain ones for the same tokens. The times are summed, not their ratios, whose
  // mean says more of turns with few tokens.
  struct Balance {
    double seconds = 0.0;
    double worth = 0.0;
    std::int32_t count = 0;
    void note(double took, double plain);
    double ratio() const { return seconds / worth; }
  };
  // Of one sequence: what stood, and what was expected to.
  struct Luck {
    Rate rate;   // of tokens
    Rate depth;  // of places where one of a draft's tokens stood
    double expected = 0.0;
  };
  std::int32_t width(const Candidate& candidate, std::int32_t place) const;
  void order_tree(Candidate& candidate) const;
  double first_of(Candidate& candidate) const;
  double next_of(const Candidate& candidate, std::int32_t depth, double before) const;
  void note_token(Luck& own, float sure, bool hit);
  bool known(std::int32_t rows) const;
  bool gains_for_sure() const;
  double guess(float sure) const;
  double acceptance(const Candidate& candidate, std::int32_t place) const;
  double gain(std::span<Candidate> candidates, std::int32_t decode_rows, double draft_seconds);
  void judge_turn(double seconds);
  void pay(double seconds);
  void review(double change);
  bool probe(std::span<Candidate> candidates);
  bool lengthen(std::span<Candidate> candidates);
  double between_neighbours(std::int32_t at) const;

  static constexpr std::int32_t kMostRows = 512;
  const std::int32_t most_;
  const std::vector<std::int32_t> widths_;
  std::vector<Cost> steps_;     // by rows
  std::int32_t most_rows_ = 0;  // of a step that was noted
  Cost draft_;                  // of one more token in the longest draft
  Cost missed_;                 // of a row that the drafter had missed
  Rate all_;
  std::vector<Rate> places_;
  std::array<Rate, 16> guesses_;  // by what the drafter thought of them
  std::unordered_map<SeqId, Luck> sequences_;
  double least_probability_ = 0.0;
  // The turn that is under way, and how turns with drafts did.
  std::int32_t turn_rows_ = 0;
  std::int32_t turn_drafted_ = 0;
  std::int32_t turn_accepted_ = 0;
  double turn_draft_seconds_ = 0.0;
  Balance measured_;
  // Time that turns with drafts took beyond that of plain ones, catching up and trials included, less what they saved.
  // Plain turns pay it back, a hundredth of their own time each; nothing is tried before it is paid.
  double debt_ = 0.0;
  bool began_ = false;
  bool in_debt_ = false;
  bool refused_ = false;  // drafts were expected to gain, and did not
  std::int32_t review_turns_ = 0;
  bool turn_steady_ = true;
  bool probing_ = false;
  bool last_drafted_ = false;
  std::int32_t like_this_ = 0;    // turns before, with drafts or without as the last one
  std::int32_t probe_turns_ = 0;  // still to come
  std::int32_t long_turns_ = 0;   // the same
  std::int32_t plain_turns_ = 0;  // the same, to renew their times
  std::int32_t on_for_ = 0;       // turns with drafts
  std::int32_t off_for_ = 0;      // steps since the last draft
  std::int32_t patience_;         // plain steps before the next trial
  std::uint64_t gated_ = 0;
  std::uint64_t probes_ = 0;
};

}  // namespace foregate
