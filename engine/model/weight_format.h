// Which packed format a weight is kept in: that of its file, or the one asked for at load
// (--quantization). Pure; called by the weight plan.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "kernels/api/dtype.h"

namespace foregate {

enum class WeightGroup : std::uint8_t {
  kEmbedding,
  kAttention,
  kRouter,
  kExperts,
  kSharedExpert,
  kDenseFfn,
  kNorm,
  kLmHead,
};
inline constexpr int kWeightGroups = 8;
const char* weight_group_name(WeightGroup group);

struct WeightPlanOptions {
  // For matrices stored as f32, f16 or bf16; those that are quantized in the file stay as they are. It changes the
  // tokens, so it is never chosen unasked.
  std::optional<WeightFormat> quantization;
};

// "q8_0", "q4_0" or "q4_k"; none for another word.
std::optional<WeightFormat> quantization_named(std::string_view word);

// The format of a [rows, cols] matrix of `stored` type. Routers are f32 always (widening is exact); with a
// quantization asked for, the token table and the head get q6_k (as the usual GGUF mixes have it), and a matrix whose
// columns do not fill the blocks of a format gets q8_0, or stays as it is.
WeightFormat choose_format(WeightGroup group, DType stored, std::int64_t rows, std::int64_t cols,
                           const WeightPlanOptions& options);

}  // namespace foregate
