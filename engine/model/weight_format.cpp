#include "engine/model/weight_format.h"

#include "kernels/api/quant.h"

namespace foregate {
namespace {

bool fills_blocks(WeightFormat format, std::int64_t cols) {
  return cols % format_unit(format).cols == 0;
}

}  // namespace

const char* weight_group_name(WeightGroup group) {
  switch (group) {
    case WeightGroup::kEmbedding: return "embedding";
    case WeightGroup::kAttention: return "attention";
    case WeightGroup::kRouter: return "router";
    case WeightGroup::kExperts: return "experts";
    case WeightGroup::kSharedExpert: return "shared expert";
    case WeightGroup::kDenseFfn: return "dense ffn";
    case WeightGroup::kNorm: return "norms";
    case WeightGroup::kLmHead: return "lm head";
  }
  return "?";
}

std::optional<WeightFormat> quantization_named(std::string_view word) {
  for (const WeightFormat format : {WeightFormat::kQ8_0, WeightFormat::kQ4_0, WeightFormat::kQ4_K}) {
    if (word == format_name(format)) return format;
  }
  return std::nullopt;
}

WeightFormat choose_format(WeightGroup group, DType stored, std::int64_t rows, std::int64_t cols,
                           const WeightPlanOptions& options) {
  if (group == WeightGroup::kRouter || group == WeightGroup::kNorm) return WeightFormat::kF32;
  const WeightFormat same = dtype_format(stored);
  // One output (the gate of a shared expert) is not worth a block of sixteen.
  if (!options.quantization || has_blocks(same) || rows == 1) return same;
  WeightFormat wanted = *options.quantization;
  const bool table = group == WeightGroup::kEmbedding || group == WeightGroup::kLmHead;
  if (table && wanted != WeightFormat::kQ8_0) wanted = WeightFormat::kQ6_K;
  if (fills_blocks(wanted, cols)) return wanted;
  return fills_blocks(WeightFormat::kQ8_0, cols) ? WeightFormat::kQ8_0 : same;
}

}  // namespace foregate
