// Sizes of a model from its config and tensor index alone: nothing is loaded. For `foregate
// inspect` and memory plans.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <set>
#include <string>

#include "engine/base/status.h"
#include "engine/io/file.h"
#include "engine/model/model_config.h"
#include "engine/model/model_source.h"
#include "engine/model/weight_plan.h"
#include "engine/weights/packed_format.h"

namespace foregate {

struct GroupSize {
  std::int64_t tensors = 0;         // matrices and vectors, an expert's parts counted one by one
  std::int64_t parameters = 0;      // elements
  std::int64_t active = 0;          // of them, used for one token
  std::int64_t file_bytes = 0;      // as stored
  std::int64_t packed_bytes = 0;    // in device memory
  std::int64_t read_per_token = 0;  // packed bytes that one decode step of one sequence reads
  std::set<std::string> stored;     // how its matrices are stored ("bf16", "awq g128") and packed ("q5_0");
  std::set<std::string> packed;     // of vectors only where the group has no matrix
};

// What the index of a packed model says beside its tensors.
struct PackedFacts {
  std::string layout;
  std::string quantization;
  std::uint64_t weights_id = 0;
  std::uint64_t data_bytes = 0;
  std::size_t units = 0;
  std::size_t experts = 0;                 // of the units
  std::uint64_t expert_bytes = 0;          // of those units, whole pages
  std::vector<std::uint64_t> layer_bytes;  // by layer: of its unit, all of it but experts
  std::vector<PackedDataFile> files;
};

struct ModelSummary {
  ModelConfig config;
  std::array<GroupSize, kWeightGroups> groups;  // by WeightGroup
  GroupSize total;
  std::int64_t expert_packed_bytes = 0;    // the largest single expert
  DType kv_type = DType::kF32;             // of cached keys and values unless asked otherwise: f16 beside f16 or
                                           // quantized matrices, else f32
  std::int64_t kv_bytes_per_position = 0;  // of keys and values of kv_type, all layers
  std::size_t shards = 0;
  std::optional<PackedFacts> packed;  // of a packed model

  std::int64_t kv_bytes_of(DType type) const;  // the same of another type
  const GroupSize& group(WeightGroup group) const { return groups[static_cast<std::size_t>(group)]; }
};

// Errors as load_weights() gives them.
Result<ModelSummary> summarize(const OpenModel& model, const WeightPlanOptions& options);
// Opens the model at `path` first.
Result<ModelSummary> summarize(const FileSystem& files, const std::string& path, const WeightPlanOptions& options);

}  // namespace foregate
