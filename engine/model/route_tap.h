// Between the MoE blocks and a RouteSink (experts/trace.h): puts a layer's routing into the form of a trace. Owned by
// the transformer, thread of the step; a transformer without a sink has none, and nothing is gathered.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/experts/expert_store.h"
#include "engine/experts/trace.h"
#include "engine/model/model_config.h"
#include "engine/model/model_weights.h"
#include "engine/model/step.h"

namespace foregate {

// Prompt rows beyond one per sequence make a step a prefill; rows of drafts do not.
UsePhase phase_of(const Step& step);
// Rows at the beginning of the step that decode or verify drafts: all of them, or those before the first prompt's.
std::int64_t decoding_rows(const Step& step);
// What a layer of the step uses, after group_by_expert(); its spans are in the step's scratch.
LayerUse use_of(const Step& step, LayerId id);

// The header of a trace of this model, whose steps begin now. Experts in a store have the bytes of the largest of their
// layer; experts in memory those that a packed model would give them, whole pages.
TraceInfo trace_info(const std::string& model_name, const ModelConfig& config, const ModelWeights& weights);

class RouteTap {
 public:
  explicit RouteTap(RouteSink& sink) : sink_(sink) {}
  // After the layer was routed; with a store, after ExpertStore::begin() and before the first lease is asked for: what
  // is in memory then is what begin() counted as a hit.
  void tell(const Step& step, LayerId id, const ExpertStore* store);
  // Of the last step, which rows of drafts stood: [rows] 1.
  void tell_stood(std::span<const std::uint8_t> stood) { sink_.on_drafts_stood(step_, stood); }

 private:
  RouteSink& sink_;
  std::int64_t step_ = -1;
  std::vector<std::uint64_t> requests_;  // by row, of step_
  std::vector<std::uint8_t> prompt_;     // likewise: of a prompt
  std::vector<std::uint8_t> drafted_;    // likewise: of a draft; empty: none
  std::vector<std::uint8_t> resident_;
};

}  // namespace foregate
