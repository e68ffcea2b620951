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
  explicit DraftController(std::int32_t most);

  struct Candidate {
    SeqId seq;
    std::int32_t most = 0;   // tokens that may be drafted for it
    std::int32_t depth = 0;  // answer: tokens to draft
  };
  // `decode_rows`: sequences that decode in the step, the candidates among them.
  void choose(std::span<Candidate> candidates, std::int32_t decode_rows);

  void note_draft(std::int32_t depth, double seconds);  // the drafter worked on drafts of so many tokens
  void note_step(std::int32_t rows, double seconds);    // a step of decode rows and drafts only
  void note_verdict(SeqId seq, std::int32_t drafted, std::int32_t accepted);
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
    void note(double value);
  };
  bool known(std::int32_t rows) const;
  double acceptance(SeqId seq, std::int32_t place) const;
  double gain(std::span<Candidate> candidates, std::int32_t decode_rows) const;
  bool probe(std::span<Candidate> candidates);

  static constexpr std::int32_t kMostRows = 512;
  const std::int32_t most_;
  std::vector<Cost> steps_;  // by rows
  Cost draft_;               // of one more token in the longest draft
  Rate all_;
  std::vector<Rate> places_;
  std::unordered_map<SeqId, Rate> sequences_;
  std::int32_t on_for_ = 0;   // steps since the last plain one
  std::int32_t off_for_ = 0;  // steps since the last draft
  std::int32_t patience_;     // plain steps before the next trial
  std::uint64_t gated_ = 0;
  std::uint64_t probes_ = 0;
};

}  // namespace foregate
