// Which guesses about a later layer's experts are worth loading ahead. Pure and deterministic: how often guesses of
// each rank came true is learned as it goes, the rest is what the caller measured. One thread.
//
// A guess that comes true saves at most the time that the link would have been idle before the layer; on a busy link,
// where it waits in the queue, what lies between the end of one load and the request of the next: the latency of a
// read, and the layer's way from waking to asking. That gap is there once before a layer: of several guesses the first
// one fills it. A wrong one delays the loads that are needed by what it takes beyond
// the idle time, and costs what it evicted, which one that comes true would have evicted anyway. Prediction is accurate
// and still often loses, because a busy link has no such time: then nothing is issued (Speculating experts, arXiv
// 2603.19289; PreScope, arXiv 2509.23638).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "engine/experts/expert_key.h"

namespace foregate {

enum class LookaheadMode : std::uint8_t { kOff, kShadow, kAuto, kAlways };
std::optional<LookaheadMode> lookahead_mode_named(std::string_view word);  // off, shadow, auto, always
const char* lookahead_mode_name(LookaheadMode mode);

// What the link and the layers take, in seconds, as measured of late.
struct LinkTimes {
  double load = 0.0;    // one expert
  double idle = 0.0;    // between the last load of a layer and the first of the next
  double layer = 0.0;   // from one MoE layer to the next
  double start = 0.0;   // of a load: what it takes because no other is under way, the latency of a read
  bool queued = false;  // a guess waits in the queue, so that the link goes on when the layer's loads end

  LinkTimes behind_a_guess() const;  // what is left for the next one
};

struct Guess {
  std::int32_t expert = 0;
  double probability = 0.0;
};

struct GateStats {
  std::uint64_t guesses = 0;  // experts guessed, each slot of each row
  std::uint64_t right = 0;    // of them: routed to by that row
};

class LookaheadGate {
 public:
  // `experts` of each layer; top_k guesses a row; a guess is for `distance` layers ahead.
  LookaheadGate(std::vector<std::int32_t> experts, std::int32_t top_k);

  // The guesses for `layer`, [rows, top_k] ids by falling score, as candidates: each expert once, likeliest first.
  void guess(LayerId layer, std::span<const std::int32_t> ids, std::vector<Guess>& out) const;
  // What the rows were routed to in the end: learns from the guesses of the same rows. `held`, [rows, top_k] or empty:
  // which of the guessed experts were in memory. Only of the others it matters how likely they are, and they need not
  // be as likely as all: experts in memory are often those that are used most.
  void observe(LayerId layer, std::span<const std::int32_t> guessed, std::span<const std::int32_t> routed,
               std::span<const std::uint8_t> held = {});
  // Guesses of [rows, top_k] that the same rows were routed to.
  static std::uint64_t count_right(std::span<const std::int32_t> guessed, std::span<const std::int32_t> routed,
                                   std::int32_t top_k);
  // Whether to load a guess: its gain, by the times and the value of what it would evict (the chance that that one is
  // used before), must be positive; the gain in seconds, or nothing.
  static std::optional<double> gain(double probability, const LinkTimes& times, double victim_value);
  // Whether a layer's guesses have been seen often enough, and gain at least 3 % of the layer's time.
  bool worth(LayerId layer, double gain_seconds, const LinkTimes& times) const;

  // That a guess of this rank, not in memory, comes true.
  double chance(LayerId layer, std::int32_t rank) const;
  const GateStats& stats(LayerId layer) const { return layers_[static_cast<std::size_t>(layer.value)].stats; }

 private:
  struct Layer {
    std::vector<double> right;           // by rank, decayed
    double seen = 0;                     // rows, decayed
    std::vector<double> absent_right;    // likewise, of the guesses that were not in memory
    std::vector<double> absent_guessed;  // by rank
    GateStats stats;
  };
  std::vector<std::int32_t> experts_;
  std::int32_t top_k_;
  std::vector<Layer> layers_;
  mutable std::vector<double> miss_;  // by expert: the chance that no row uses it
};

}  // namespace foregate
