// How far a draft stands. The target model computes one row for the newest token and one for each drafted token; a row
// counts only while every drafted token before it is the token that the target chose. Pure.
//
// The target chooses at each row as it would without a draft: argmax, or a draw seeded by (seed, index, position). So
// the tokens are those of plain decoding, byte for byte, for sampling too. Their distribution is the target's, because
// no token is ever chosen by the draft; a draft is accepted as often as it equals that draw, which for a draft that is
// one token (and not a distribution) is as often as rejection sampling would accept it. Of a tree the walk goes on in
// the child that equals the draw: siblings are different tokens, so one of them at most does, and the draft stands as
// often as the target draws one of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "engine/api/types.h"
#include "engine/spec/draft_tree.h"

namespace foregate {

// Calls choose(row) for row 0, 1, ... and returns the last row that was asked: so many drafted tokens stand. choose
// returns the token chosen at that row, or none when the sample ended there or nothing can be chosen.
template <class Choose>
std::size_t verify_chain(std::span<const Token> draft, Choose&& choose) {
  for (std::size_t row = 0;; ++row) {
    const std::optional<Token> chosen = choose(row);
    if (!chosen || row == draft.size() || *chosen != draft[row]) return row;
  }
}

// The same of a tree: `parents` of each drafted token, -1 for those that follow the newest one, parents first. Row 0 is
// the newest token's, row i + 1 that of draft[i]. `path`, empty before, gets the drafted tokens that stand, in order.
template <class Choose>
std::size_t verify_tree(std::span<const Token> draft, std::span<const std::int32_t> parents,
                        std::vector<std::int32_t>& path, Choose&& choose) {
  for (std::int32_t at = -1;;) {
    const std::optional<Token> chosen = choose(static_cast<std::size_t>(at + 1));
    if (!chosen) return path.size();
    at = child_that_is(draft, parents, at, *chosen);
    if (at < 0) return path.size();
    path.push_back(at);
  }
}

}  // namespace foregate
