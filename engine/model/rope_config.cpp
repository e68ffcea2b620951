#include "engine/model/rope_config.h"

#include <nlohmann/json.hpp>

#include "engine/model/config_limits.h"
#include "engine/model/config_reader.h"
#include "engine/model/model_config.h"
#include "engine/weights/checked_json.h"

namespace foregate {
namespace {

using Json = nlohmann::json;

void read_llama3(ConfigReader& config, RopeConfig& rope) {
  rope.scaling = RopeScaling::kLlama3;
  rope.low_freq_factor = config.number("low_freq_factor", 1e-3, kMaxRopeFactor);
  rope.high_freq_factor = config.number("high_freq_factor", 1e-3, kMaxRopeFactor);
  rope.original_positions = config.number("original_max_position_embeddings", 1.0, kMaxPositions);
  if (rope.high_freq_factor <= rope.low_freq_factor) config.reject("high_freq_factor", "is not above low_freq_factor");
}

void read_yarn(ConfigReader& config, RopeConfig& rope, double max_positions) {
  rope.scaling = RopeScaling::kYarn;
  rope.original_positions = config.number_or("original_max_position_embeddings", 1.0, kMaxPositions, max_positions);
  rope.beta_fast = config.number_or("beta_fast", 1e-3, kMaxRopeFactor, 32.0);
  rope.beta_slow = config.number_or("beta_slow", 1e-3, kMaxRopeFactor, 1.0);
  rope.truncate = config.boolean_or("truncate", true);
  const double mscale = config.number_or("mscale", 0.0, kMaxRopeFactor, 0.0);
  const double mscale_all = config.number_or("mscale_all_dim", 0.0, kMaxRopeFactor, 0.0);
  double magnitude = yarn_magnitude(rope.factor, 1.0);
  if (mscale > 0.0 && mscale_all > 0.0) {
    magnitude = yarn_magnitude(rope.factor, mscale) / yarn_magnitude(rope.factor, mscale_all);
  }
  rope.magnitude = config.number_or("attention_factor", 1e-6, kMaxRopeFactor, magnitude);
}

void read_scaling(ConfigReader& config, RopeConfig& rope, double max_positions) {
  const std::string type = config.text_or("rope_type", config.text_or("type", "default"));
  if (config.number_or("partial_rotary_factor", 0.0, 1.0, 1.0) != 1.0) {
    config.refuse("partial_rotary_factor", "other than 1 is not supported");
  }
  if (type == "default") return;
  if (type != "linear" && type != "llama3" && type != "yarn") {
    config.refuse("rope_type", "\"" + printable(type) + "\" is not supported; known: default, linear, llama3, yarn");
    return;
  }
  rope.factor = config.number("factor", 1.0, kMaxRopeFactor);
  if (type == "linear") rope.scaling = RopeScaling::kLinear;
  if (type == "llama3") read_llama3(config, rope);
  if (type == "yarn") read_yarn(config, rope, max_positions);
}

}  // namespace

Result<RopeConfig> read_rope_config(const Json& root, const std::string& file, const ModelConfig& model) {
  ConfigReader config(root, file);
  RopeConfig rope;
  rope.rotary_dim = model.head_dim;
  rope.theta = config.number_or("rope_theta", 1.0001, kMaxRopeTheta, model.arch->rope_theta_default);
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const Json* settings = config.object(key);
    if (settings == nullptr) continue;
    ConfigReader inner(*settings, file, std::string(key) + ".");
    rope.theta = inner.number_or("rope_theta", 1.0001, kMaxRopeTheta, rope.theta);
    read_scaling(inner, rope, model.max_positions);
    config.merge(inner.status());
  }
  RETURN_IF_ERROR(config.status());
  return rope;
}

}  // namespace foregate
