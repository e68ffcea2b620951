// Suffix decoding (Oliaro et al., SuffixDecoding, 2024): what followed the last tokens of a sequence before, in the
// sequence itself or in earlier answers, by majority, or the tree of what followed most often. The longer the part that
// repeats, the longer the draft. Earlier answers change what is drafted and so how fast an answer comes, never the
// answer. Engine thread.
#pragma once

#include <deque>
#include <memory>
#include <unordered_map>

#include "engine/spec/drafter.h"
#include "engine/spec/suffix_index.h"

namespace foregate {

struct SuffixOptions {
  std::int32_t max_tree_depth = 24;           // tokens that are compared, and that are drafted, at most
  std::int32_t max_cached_requests = 10000;   // earlier answers kept; 0: only the sequence itself
  double max_spec_factor = 1.0;               // tokens drafted for each token that repeats
  double min_token_prob = 0.1;                // of a whole draft, by what followed before
  std::size_t max_cached_tokens = 1U << 20U;  // of all earlier answers
};

class SuffixDrafter final : public Drafter {
 public:
  explicit SuffixDrafter(SuffixOptions options);
  void propose(std::span<const DraftAsk> asks, std::span<Draft> drafts) override;
  void forget(SeqId seq) override;
  bool instant() const override { return true; }
  std::size_t cached_answers() const { return answers_.size(); }
  std::size_t bytes() const;

 private:
  struct Follower {
    SuffixIndex index{0};
    std::uint64_t prompt = 0;
  };
  Draft draft(const SuffixIndex& index, const DraftAsk& ask, double& score) const;

  const SuffixOptions options_;
  std::unordered_map<SeqId, Follower> followers_;
  SuffixIndex earlier_;
  std::deque<std::uint64_t> answers_;  // number of the first token of each in earlier_
};

}  // namespace foregate
