// A transformer over the weights of another one that gives every row fewer experts: it drafts for it. It costs the
// scratch of its rows, and no weights.
#pragma once

#include <cstdint>
#include <memory>

#include "engine/base/status.h"
#include "engine/model/transformer.h"

namespace foregate {

// `of` must outlive the result; the two run in turn, on one thread and stream. kInvalidArgument, field
// speculative_config, when `experts` is not below what `of` gives a row, or not all its weights are where it computes.
Result<std::unique_ptr<Transformer>> with_fewer_experts(const Transformer& of, std::int32_t experts,
                                                        std::int32_t max_batched_tokens);

}  // namespace foregate
