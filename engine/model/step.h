// What the blocks of a layer share during one forward(): the ops, the stream, the scratch and the
// rows. Each block reads scratch.normed and writes scratch.delta.
#pragma once

#include "engine/model/model.h"
#include "engine/model/model_config.h"
#include "engine/model/step_scratch.h"
#include "kernels/api/op_table.h"

namespace foregate {

class DraftRoutes;
class ExpertTally;
class RouteMemory;
class RouteTap;

struct Step {
  const ModelConfig& config;
  const OpTable& ops;
  Stream& stream;
  StepScratch& scratch;
  const ForwardInput& input;
  std::int64_t rows = 0;
  std::int64_t number = 0;        // of the forward() calls so far
  ExpertTally* tally = nullptr;   // counts what is routed; null: in tests of single blocks
  RouteTap* tap = nullptr;        // told what is routed; null: nobody asks
  DraftRoutes* drafts = nullptr;  // keeps what rows of drafts are routed to; null: there are none
  RouteMemory* routes = nullptr;  // likewise: remembers it
  bool host_routes = true;  // routes come to the host; otherwise the device keeps them (ModelWeights::device_experts)

  // Of the rows of input.seqs[seq], the last so many are of a draft.
  std::int32_t drafted(std::size_t seq) const { return input.drafted.empty() ? 0 : input.drafted[seq]; }

  View2<float> view(float* data, std::int64_t cols) const { return {data, rows, cols, cols}; }
  View2<const float> read(const float* data, std::int64_t cols) const { return {data, rows, cols, cols}; }
  View2<const float> block_in() const { return read(scratch.normed, config.hidden_size); }
  View2<float> block_out() const { return view(scratch.delta, config.hidden_size); }
};

}  // namespace foregate
