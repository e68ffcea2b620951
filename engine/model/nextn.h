// NextN layers (multi-token prediction of DeepSeek-V3, arXiv 2412.19437 section 2.2; GLM-4.5 has them too): one more
// layer that guesses the token after the next from a token and the hidden state of the row before it. Tensors lie
// beside the model's, under the number after its last layer: enorm, hnorm, eh_proj, a whole layer and shared_head.norm.
#pragma once

#include <memory>

#include "engine/base/status.h"
#include "engine/model/model_source.h"
#include "engine/model/transformer.h"

namespace foregate {

// The first NextN layer of `model` as a transformer of one layer, in memory whole: its rows need
// ForwardInput::hidden_in. Table and head are those of `of` where the file has none of its own. `model` may be a
// directory that has nothing but the layer. `of` must outlive the result; the two run in turn, on one thread and
// stream. On the host. kInvalidArgument or kUnimplemented, field speculative_config, when the two do not go together.
Result<std::unique_ptr<Transformer>> load_nextn(const OpenModel& model, const Transformer& of,
                                                const LoadOptions& options);

struct Step;

// scratch.hidden = eh_proj [enorm(scratch.delta), hnorm(hidden_in)]. `rows` is [T, 2 * hidden] to work in.
void join_rows(const Step& step, const NextnWeights& weights, float* rows);

}  // namespace foregate
