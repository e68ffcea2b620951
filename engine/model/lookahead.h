// Pre-gating lookahead. Free of training: while a MoE layer's experts are on their way, the routers of the layers ahead
// run on what the layer's own router saw, and the experts they would choose may be loaded ahead (lookahead_gate.h
// decides). Certain: where the architecture routes a layer before it runs (routing.h), nothing is guessed and the store
// is told. It never changes what is computed. Engine thread.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/base/status.h"
#include "engine/experts/device_tier.h"
#include "engine/experts/expert_store.h"
#include "engine/experts/lookahead_gate.h"
#include "engine/model/issue_guesses.h"
#include "engine/model/model_weights.h"
#include "engine/model/step.h"
#include "engine/model/token_routes.h"

namespace foregate {

struct LookaheadOptions {
  LookaheadMode mode = LookaheadMode::kAuto;
  std::int32_t distance = 1;  // MoE layers ahead, 1 to 3; 0 is the control, whose guesses are all right
  bool correction = true;     // guess from the residual stream as it will have moved on average until then
};

struct LookaheadStats {
  std::uint64_t guesses = 0;              // experts guessed for rows
  std::uint64_t right = 0;                // that the rows were then routed to
  std::uint64_t right_plain = 0;          // likewise, had there been no correction; counted in shadow mode
  std::uint64_t mixed_guesses = 0;        // of them: in steps with prompts' rows
  std::uint64_t token_guesses = 0;        // experts that tokens' rows were expected to use in the first layers
  std::uint64_t token_guesses_right = 0;  // that they were routed to
};

class Lookahead {
 public:
  static Result<std::unique_ptr<Lookahead>> create(const ModelConfig& config, const LookaheadOptions& options,
                                                   Device& device);

  // Layer `id` has routed its rows and its loads are under way: compares with what was guessed for it, guesses for the
  // layer ahead, asks the store for what is worth it. Rows of prompts are passed over, rows of drafts are not; of a
  // step with both, those before the first prompt's count. With a tier in front of the store each is asked by its own
  // times: the tier for what the host has, the store for the rest.
  void after_routing(const Step& step, LayerId id, const std::vector<LayerWeights>& layers, ExpertStore& store,
                     DeviceTier* tier = nullptr);
  // Tokens of the step to come: the layers that no earlier one guesses for may be asked for now (token_routes.h).
  void foresee(std::span<const Token> tokens, ExpertStore& store, DeviceTier* tier = nullptr);
  // Layer `target`, which runs next of all MoE layers, is routed to these experts.
  // With a tier in front of the store it is told, and the store of what it has to read for it.
  void announce(const Step& step, LayerId target, const ExpertRoute& route, ExpertStore& store,
                DeviceTier* tier = nullptr);
  // Layer `target`'s router on the first `rows` (at most 16) of the residual stream as it is now, plus `shift` [hidden]
  // where given: [rows, top_k] ids by falling score. At the target's own place, without a shift, it gives what the
  // layer routes.
  std::span<const std::int32_t> run_router(const Step& step, std::int64_t rows, const LayerWeights& target,
                                           std::span<const float> shift = {});

  LookaheadStats stats() const;
  LookaheadMode mode() const { return options_.mode; }

 private:
  struct Pending {
    std::int64_t step = -1;  // for which the guesses are
    std::vector<std::int32_t> ids;
    std::vector<std::uint8_t> held;   // of the ids: whether the tier that is asked first had them
    std::vector<std::int32_t> plain;  // without the correction; shadow mode
    std::vector<float> from;          // [rows, hidden] the residual stream that they were guessed from
  };
  // How the residual stream moves from where a layer's guesses are made until the layer, on average of late.
  struct Shift {
    std::vector<float> mean;  // [hidden]; empty: nothing seen yet
    double rows = 0;          // that it was learned from
  };
  Lookahead(const ModelConfig& config, const LookaheadOptions& options);
  void compare(const Step& step, std::int64_t rows, LayerId id);
  void learn_shift(const Step& step, std::int64_t rows, LayerId id);
  std::span<const float> residual(const Step& step, std::int64_t rows);
  void fill_moved(const Step& step, std::int64_t rows, std::span<const float> shift);

  LookaheadOptions options_;
  LookaheadGate gate_;
  std::vector<std::int32_t> ahead_;  // of each layer: the MoE layer `distance` further, or -1
  std::vector<Pending> pending_;     // by layer guessed for
  std::vector<Shift> shifts_;        // likewise
  std::uint64_t right_plain_ = 0, mixed_ = 0;
  IssuedGuesses issued_;
  TokenRoutes tokens_;
  std::vector<std::int32_t> announced_;
  // Where the host does not see the device's memory: copies of it.
  bool host_visible_ = true;
  std::vector<float> host_floats_;
  std::vector<std::int32_t> host_ids_;
  Memory memory_;
  float* normed_ = nullptr;
  float* moved_ = nullptr;
  float* logits_ = nullptr;
  float* weights_ = nullptr;
  std::int32_t* ids_ = nullptr;
};

}  // namespace foregate
