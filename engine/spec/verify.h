// How far a draft stands. The target model computes one row for the newest token and one for each drafted token; a row
// counts only while every drafted token before it is the token that the target chose. Pure; chain drafts.
//
// The target chooses at each row as it would without a draft: argmax, or a draw seeded by (seed, index, position). So
// the tokens are those of plain decoding, byte for byte, for sampling too. Their distribution is the target's, because
// no token is ever chosen by the draft; a draft is accepted as often as it equals that draw, which for a draft that is
// one token (and not a distribution) is as often as rejection sampling would accept it.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "engine/api/types.h"

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

}  // namespace foregate
