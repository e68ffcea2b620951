// The quantization_config of a config.json: how the matrices of a quantized checkpoint are stored, and which modules
// are not. Plain data, immutable after reading.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "engine/base/status.h"
#include "engine/model/module_patterns.h"
#include "engine/weights/stored_matrix.h"

namespace foregate {

struct QuantizationConfig {
  std::optional<StorageRule> rule;  // none: the checkpoint is not quantized
  ModulePatterns skipped;           // modules that are plain whatever their tensors are
};

// Reads quantization_config of `root`, the object of `file`. Methods: "awq" (version gemm), "gptq" (both versions of
// zero points), "compressed-tensors" (format pack-quantized; one config group), each with four bits and groups that are
// multiples of 32 or whole rows; "fp8" and "compressed-tensors" of format float-quantized, E4M3 with scales for tiles,
// rows or whole matrices.
// kUnimplemented and kInvalidArgument name the file and the key.
Result<QuantizationConfig> read_quantization_config(const nlohmann::json& root, const std::string& file);

}  // namespace foregate
