// Rotary settings of config.json, in both spellings: rope_theta + rope_scaling, and
// rope_parameters. Part of reading a ModelConfig.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "engine/base/status.h"
#include "engine/model/rope.h"

namespace foregate {

struct ModelConfig;

// `model` has head_dim and max_positions already. kUnimplemented names an unsupported rope type.
Result<RopeConfig> read_rope_config(const nlohmann::json& root, const std::string& file, const ModelConfig& model);

}  // namespace foregate
