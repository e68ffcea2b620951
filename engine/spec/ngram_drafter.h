// Prompt lookup: a sequence that repeats itself, its prompt included, goes on as it did before. The last tokens are
// searched for earlier in the sequence, and what followed there is the draft. No state; one pass over the tokens.
#pragma once

#include "engine/spec/drafter.h"

namespace foregate {

// What follows the most recent earlier place where the longest suffix of `tokens` stands, of shortest .. longest
// tokens; empty when there is none. Where that place overlaps the end, the draft repeats itself.
// `matched`, if wanted: how many tokens repeat. Places that go on with one of `except` do not count.
std::vector<Token> lookup_draft(std::span<const Token> tokens, std::int32_t shortest, std::int32_t longest,
                                std::int32_t most, std::size_t* matched = nullptr, std::span<const Token> except = {});

class NgramDrafter final : public Drafter {
 public:
  NgramDrafter(std::int32_t shortest, std::int32_t longest) : shortest_(shortest), longest_(longest) {}
  void propose(std::span<const DraftAsk> asks, std::span<Draft> drafts) override;
  bool instant() const override { return true; }

 private:
  void look_up_tree(const DraftAsk& ask, Draft& draft) const;
  std::int32_t shortest_;
  std::int32_t longest_;
};

}  // namespace foregate
