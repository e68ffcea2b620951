// Which experts the first MoE layers will use for a token, before the step that computes it: those that its last row
// was routed to. For the layers that no earlier layer guesses for (lookahead.h). Where the first router reads the
// embedding alone (SmallThinker) a token that was seen is certain; elsewhere it is a guess, and the gate learns what
// such guesses are worth. Tokens that were just sampled and tokens of drafts are foreseen alike, so their loads go on
// while the others are drafted. It never changes what is computed. Owned by the lookahead, engine thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/experts/device_tier.h"
#include "engine/experts/expert_store.h"
#include "engine/experts/lookahead_gate.h"
#include "engine/model/issue_guesses.h"
#include "engine/model/model_config.h"
#include "engine/model/step.h"

namespace foregate {

class TokenRoutes {
 public:
  static constexpr std::size_t kMostTokens = 16;  // of one call; more of them wake nearly all experts anyway

  // For the first `layers` MoE layers; `experts` of each layer.
  TokenRoutes(const ModelConfig& config, const std::vector<std::int32_t>& experts, std::int32_t layers);

  // Layer `id` has routed its rows. What was remembered of the first `judged` is compared, too.
  void learn(const Step& step, LayerId id, std::int64_t judged);
  // Rows of the next step.
  void foresee(std::span<const Token> tokens, LookaheadMode mode, ExpertStore& store, DeviceTier* tier);

  // Of rows whose token had been seen: experts remembered, and of these, those that the rows were routed to.
  GateStats stats() const;
  std::size_t bytes() const;

 private:
  static constexpr std::uint16_t kUnknown = 0xffff;
  struct Layer {
    LayerId id;
    std::vector<std::uint16_t> experts;  // [vocab, top_k]
  };
  std::span<std::uint16_t> of(Layer& layer, Token token);

  std::size_t top_k_;
  LookaheadGate gate_;
  std::vector<Layer> layers_;
  std::vector<std::int32_t> known_;   // [rows, top_k]
  std::vector<std::int32_t> routed_;  // likewise
  IssuedGuesses issued_;
};

}  // namespace foregate
