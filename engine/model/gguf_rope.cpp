#include "engine/model/gguf_rope.h"

#include <cmath>
#include <span>

#include "engine/model/config_limits.h"
#include "engine/model/gguf_names.h"
#include "engine/model/metadata_reader.h"
#include "engine/model/model_config.h"
#include "engine/weights/checked_json.h"

namespace foregate {
namespace {

void read_yarn(MetadataReader& keys, const ModelConfig& model, RopeConfig& rope) {
  rope.scaling = RopeScaling::kYarn;
  rope.original_positions = keys.number_or("rope.scaling.original_context_length", 1.0,
                                           static_cast<double>(kMaxPositions), model.max_positions);
  rope.beta_fast = keys.number_or("rope.scaling.yarn_beta_fast", 1e-3, kMaxRopeFactor, 32.0);
  rope.beta_slow = keys.number_or("rope.scaling.yarn_beta_slow", 1e-3, kMaxRopeFactor, 1.0);
  // As transformers' attention_factor, from which converters take it.
  rope.magnitude =
      keys.number_or("rope.scaling.yarn_attn_factor", 1e-6, kMaxRopeFactor, yarn_magnitude(rope.factor, 1.0));
  const double extrapolation = keys.number_or("rope.scaling.yarn_ext_factor", -1e6, 1e6, 1.0);
  if (extrapolation >= 0.0 && extrapolation != 1.0) {
    keys.refuse("rope.scaling.yarn_ext_factor", "other than 1 is not supported");
  }
}

void read_scaling(MetadataReader& keys, const ModelConfig& model, RopeConfig& rope) {
  const std::string type = keys.text_or("rope.scaling.type", "linear");
  for (const char* key : {"rope.scaling.yarn_log_multiplier", "rope.scaling.alpha"}) {
    if (keys.number_or(key, -1e6, 1e6, 0.0) != 0.0) keys.refuse(key, "is not supported");
  }
  if (type == "none") return;
  if (type != "linear" && type != "yarn") {
    keys.refuse("rope.scaling.type", "\"" + printable(type) + "\" is not supported; known: none, linear, yarn");
    return;
  }
  // Files of 2023 have rope.scale_linear; zero stands for no scaling.
  const char* key = keys.has("rope.scaling.factor") ? "rope.scaling.factor" : "rope.scale_linear";
  rope.factor = keys.number_or(key, 0.0, kMaxRopeFactor, 1.0);
  if (rope.factor == 0.0) rope.factor = 1.0;
  if (rope.factor < 1.0) keys.reject(key, "is below 1");
  if (type == "linear" && rope.factor != 1.0) rope.scaling = RopeScaling::kLinear;
  if (type == "yarn") read_yarn(keys, model, rope);
  rope.magnitude *= keys.number_or("rope.scaling.attn_factor", 1e-6, kMaxRopeFactor, 1.0);
}

// Llama 3.1's scaling comes as one divisor per rotary pair.
Status read_divisors(const TensorIndex& index, RopeConfig& rope) {
  const TensorEntry* entry = index.find(kGgufRopeDivisors);
  if (entry == nullptr) return {};
  const auto pairs = static_cast<std::size_t>(rope.rotary_dim / 2);
  const auto refuse = [&](const std::string& what) {
    return data_loss(index.path_of(*entry) + ": tensor \"" + kGgufRopeDivisors + "\" " + what, kGgufRopeDivisors);
  };
  if (entry->dtype != DType::kF32 || entry->bytes != pairs * sizeof(float)) {
    return refuse("is not " + std::to_string(pairs) + " numbers of type F32, one per rotary pair");
  }
  if (rope.scaling != RopeScaling::kNone) {
    return unimplemented(
        index.path_of(*entry) + ": " + kGgufRopeDivisors + " together with rope.scaling is not supported",
        kGgufRopeDivisors);
  }
  rope.scaling = RopeScaling::kDivisors;
  rope.divisors.resize(pairs);
  RETURN_IF_ERROR(index.read(*entry, 0, std::as_writable_bytes(std::span(rope.divisors))));
  for (const float divisor : rope.divisors) {
    if (!std::isfinite(divisor) || divisor <= 0.0f) return refuse("holds something that is not a positive number");
  }
  return {};
}

}  // namespace

Result<RopeConfig> read_gguf_rope(MetadataReader& keys, const TensorIndex& index, const ModelConfig& model) {
  RopeConfig rope;
  rope.rotary_dim = model.head_dim;
  rope.theta = keys.number_or("rope.freq_base", 1.0001, kMaxRopeTheta, 10000.0);
  if (keys.integer_or("rope.dimension_count", 0, kMaxHeadDim, model.head_dim) != model.head_dim) {
    keys.refuse("rope.dimension_count", "other than the key length is not supported");
  }
  read_scaling(keys, model, rope);
  RETURN_IF_ERROR(keys.status());
  RETURN_IF_ERROR(read_divisors(index, rope));
  return rope;
}

}  // namespace foregate
