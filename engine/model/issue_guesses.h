// Asks a tier for guessed experts, as far as the gate finds them worth a load. Engine thread.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "engine/experts/lookahead_gate.h"

namespace foregate {

// Scratch of issue_guesses().
struct IssuedGuesses {
  std::vector<Guess> guesses;
  std::vector<ExpertKey> keys;
};

// `ids`: guesses for rows of layer `target`, [rows, top_k] by falling score. `of`: ExpertStore or DeviceTier, which
// `load` asks for the experts; skip(key): not one of its own.
template <class Target, class Skip, class Load>
void issue_guesses(LookaheadMode mode, const LookaheadGate& gate, LayerId target, std::span<const std::int32_t> ids,
                   Target& of, IssuedGuesses& scratch, Skip skip, Load load) {
  if (mode == LookaheadMode::kShadow || mode == LookaheadMode::kOff) return;
  const bool choose = mode == LookaheadMode::kAuto;
  gate.guess(target, ids, scratch.guesses);
  LinkTimes times = of.link_times();
  double gained = 0;
  scratch.keys.clear();
  for (const Guess& guess : scratch.guesses) {
    const ExpertKey key{target, ExpertId{guess.expert}};
    if (of.held(key) || skip(key)) continue;
    if (choose) {
      const auto gain = LookaheadGate::gain(guess.probability, times, of.victim_value(key));
      if (!gain) break;  // the others are less likely still
      gained += *gain;
    }
    scratch.keys.push_back(key);
    times = times.behind_a_guess();
  }
  if (scratch.keys.empty() || (choose && !gate.worth(target, gained, times))) return;
  load(of, scratch.keys);
}

}  // namespace foregate
