// What a model has to do per token and where its weights are: the numerator of every limit. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/model/transformer.h"

namespace foregate {

// Multiply-adds with weight matrices; attention over keys and values, norms and the sampler are left out.
struct ModelWork {
  double row_macs = 0.0;     // of one token through all layers
  double logits_macs = 0.0;  // of one row of logits
};
ModelWork model_work(const ModelConfig& config);

// The format that holds most of what a token reads: that of the experts, or of the FFN of a dense model.
WeightFormat main_format(const Transformer& model);

// Packed bytes of all weights, and of those what memory holds or has slots for.
struct WeightBytes {
  std::int64_t all = 0;
  std::int64_t resident = 0;
};
WeightBytes weight_bytes(const Transformer& model);

// The weights in memory but for experts in a store, each span cut to begin at 64 bytes.
std::vector<std::span<const std::byte>> weight_spans(const Transformer& model);

}  // namespace foregate
